package main

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/gate"
)

// A chief is a boss that also lends, takes back, and makes children one after
// the other, while the test kills processes of wardd.

type chiefs struct {
	parent
	loans map[string]*gate.Delegation // by their order
}

func chief(ctx context.Context, d *gate.Domain) error {
	p := &chiefs{parent{d: d, children: map[string]*gate.Child{}}, map[string]*gate.Delegation{}}
	return d.Serve(ctx, orders, gate.HandlerFunc(func(ctx context.Context, c *gate.ServerCall) error {
		b, err := c.Recv()
		if err != nil {
			return err
		}
		_, _, n := protowire.ConsumeTag(b)
		order, _ := protowire.ConsumeString(b[max(n, 0):])
		got, err := p.obey(ctx, strings.Fields(order))
		if err != nil {
			got = "refused: " + err.Error()
		} else {
			got = strings.TrimSpace("done " + got)
		}
		return c.Send(word(got))
	}))
}

// obey does what a boss does, or one of
//
//	loan NAME CHILD USES LIFETIME   of One
//	revoke NAME
//	churn TEMPLATE N                makes a child, kills it, and waits for its end, so many times
func (p *chiefs) obey(ctx context.Context, order []string) (string, error) {
	if len(order) == 0 {
		return "", errors.New("no order")
	}
	switch {
	case order[0] == "loan" && len(order) == 5:
		uses, err := strconv.ParseUint(order[3], 10, 32)
		if err != nil {
			return "", err
		}
		lifetime, err := time.ParseDuration(order[4])
		if err != nil {
			return "", err
		}
		g, err := p.d.Delegate(ctx, order[2], kin+"/One", lifetime, uint32(uses))
		p.mu.Lock()
		defer p.mu.Unlock()
		p.loans[order[1]] = g
		return "", err
	case order[0] == "revoke" && len(order) == 2:
		p.mu.Lock()
		g := p.loans[order[1]]
		p.mu.Unlock()
		return "", g.Revoke(ctx)
	case order[0] == "churn" && len(order) > 3:
		n, err := strconv.Atoi(order[2])
		for range n {
			if err == nil {
				err = p.churn(ctx, order[1], order[3:])
			}
		}
		return "", err
	}
	return p.parent.obey(ctx, order)
}

// churn makes a child, kills it, and waits for it to end with one of the statuses.
func (p *chiefs) churn(ctx context.Context, template string, statuses []string) error {
	c, err := p.d.Spawn(ctx, template, gate.SpawnOptions{})
	if err != nil {
		return err
	}
	if err := c.Kill(ctx); err != nil && !strings.Contains(err.Error(), "no such child") { // asked again, it was done
		return err
	}
	status, err := c.Wait(ctx)
	if err == nil && !slices.Contains(statuses, strconv.Itoa(status)) {
		err = errors.New("a killed child has the status " + strconv.Itoa(status))
	}
	return err
}

// borrow uses whatever it is lent as often as it can, and goes on trying, more
// slowly, so that the audit writer may be away for a while: by the gates that it
// has, and by new ones.
func borrow(ctx context.Context, d *gate.Domain) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	type held struct {
		*gate.Client
		over bool // used up, or over, when it was tried last
	}
	var gates []*held
	opened := map[*gate.Loan]bool{}
	for round := 0; ctx.Err() == nil; round++ {
		short, cancel := context.WithTimeout(ctx, 2*time.Millisecond)
		l, err := d.Loan(short, kin+"/One")
		cancel()
		if err == nil && !opened[l] {
			if g, err := l.Open(ctx, "server"); err == nil {
				opened[l], gates = true, append(gates, &held{Client: g})
			}
		}
		for _, g := range gates {
			if !g.over || round%10 == 0 {
				_, err := g.Invoke(ctx, "One", word("borrowed"), nil)
				g.over = err != nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	return nil
}

// count calls One by a new gate each time.
func count(ctx context.Context, d *gate.Domain) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		if g, err := d.Open(ctx, kin, gate.At("server")); err == nil {
			g.Invoke(ctx, "One", word("counted"), nil) // an error: its rate
			g.Close()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	return nil
}

func init() {
	roles["chief"] = func(ctx context.Context, d *gate.Domain, _ []string) error { return chief(ctx, d) }
	roles["borrow"] = func(ctx context.Context, d *gate.Domain, _ []string) error { return borrow(ctx, d) }
	roles["count"] = func(ctx context.Context, d *gate.Domain, _ []string) error { return count(ctx, d) }
}
