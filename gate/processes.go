package gate

import (
	"context"
	"fmt"
	"sync"
	"time"

	"ward/abi"
)

// SpawnOptions say what a child gets. The zero value is a child without rights,
// with the template's quota, that ends with its parent.
type SpawnOptions struct {
	// Rights are the entry points that the child may call, as pkg.Service/Method.
	// The domain must have each of them itself, and the template, too. What
	// `inherit` in system.yaml says comes in addition.
	Rights    []string
	Lifetime  time.Duration // after which the child is ended; 0: no end
	Adopted   bool          // it may outlive this domain: a policy must permit ward::Action::"adopt"
	Processes uint32        // quotas, at most the template's, out of this domain's; 0: the template's, and if that states none an equal part
	Memory    uint64        // bytes
	CPUWeight uint32        // in the part of the processor that this domain and all that come from it share
	Files     uint32        // that each of its processes may have open
	Gates     uint32
	// Ring is the name of the child's ring, if it is to be a less trusted one than
	// the template's: one of those that system.yaml lists for it (lower_rings),
	// and not more trusted than this domain's. "": the template's.
	Ring string
}

// A Child is a domain that this one has made.
type Child struct {
	d        *Domain
	id       uint32
	name     string
	once     sync.Once
	ended    chan struct{}
	status   int
	endCause string
}

// A Loan is a delegation that this domain was given: it may call one entry
// point in the name of another domain.
type Loan struct {
	d     *Domain
	id    uint32
	From  string // name of the domain in whose name
	Entry string // pkg.Service/Method
	ended chan struct{}
	cause string
}

// A Delegation is one that this domain has given.
type Delegation struct {
	d  *Domain
	id uint32
}

// kindred is what a domain knows of its children and of what it was lent.
type kindred struct {
	mu       sync.Mutex
	children map[uint32]*Child
	early    map[uint32]*abi.Control // ends that came before their OpChild was looked at
	loans    map[uint32]*Loan
	arrived  chan struct{} // closed and made anew with each loan
}

func newKindred() *kindred {
	return &kindred{children: map[uint32]*Child{}, early: map[uint32]*abi.Control{}, loans: map[uint32]*Loan{}, arrived: make(chan struct{})}
}

// Spawn makes a child of a template of system.yaml; "" makes one of this domain
// itself. A refusal is an *Error that says which policy or limit it was.
func (d *Domain) Spawn(ctx context.Context, template string, o SpawnOptions) (*Child, error) {
	what := "spawn " + template
	if template == "" {
		what = "spawn a child of itself"
	}
	if o.Lifetime < 0 {
		return nil, &Error{Code: InvalidArgument, Message: what + ": its life time is negative"}
	}
	req := abi.SpawnRequest{Template: template, Rights: o.Rights, Lifetime: uint64(o.Lifetime), Adopted: o.Adopted,
		Processes: o.Processes, Memory: o.Memory, CPUWeight: o.CPUWeight, Files: o.Files, Gates: o.Gates, Ring: o.Ring}
	a, err := d.askAbout(ctx, what, abi.Control{Op: abi.OpSpawn, Text: req.Encode()}, abi.OpChild)
	if err != nil {
		return nil, err
	}
	c := &Child{d: d, id: a.Block, name: a.Name, ended: make(chan struct{})}
	d.kin.mu.Lock()
	defer d.kin.mu.Unlock()
	if end := d.kin.early[c.id]; end != nil && end.Name == c.name {
		delete(d.kin.early, c.id)
		c.end(end)
	} else {
		d.kin.children[c.id] = c
	}
	return c, nil
}

// askAbout asks the monitor something of this file, and turns a refusal into an error.
func (d *Domain) askAbout(ctx context.Context, what string, c abi.Control, want abi.ControlOp) (abi.Control, error) {
	if b, err := c.AppendTo(nil); err != nil || len(b) > abi.MaxAsk {
		return abi.Control{}, &Error{Code: InvalidArgument, Message: fmt.Sprintf("%s: the request has more than %d bytes: list fewer rights", what, abi.MaxAsk)}
	}
	a, err := d.ask(ctx, c)
	if err != nil {
		e := *AsError(err)
		e.Message = what + ": " + e.Message
		return abi.Control{}, &e
	}
	a.close()
	switch a.Op {
	case want:
		return a.Control, nil
	case abi.OpRefused:
		e := refusal(what, d.name, &a.Control)
		if a.Reason == abi.ReasonDefault && a.Text != "" {
			e.Message = what + ": default deny: " + a.Text
		}
		return abi.Control{}, e
	}
	return abi.Control{}, &Error{Code: Internal, Message: fmt.Sprintf("%s: the monitor answered with message %d", what, a.Op)}
}

// Name is the child's name in records and in `ward ps`.
func (c *Child) Name() string { return c.name }

// Ended is closed when the child has ended.
func (c *Child) Ended() <-chan struct{} { return c.ended }

// Wait waits until the child has ended, and returns its status as a shell
// gives it: 128+n after signal n.
func (c *Child) Wait(ctx context.Context) (int, error) {
	select {
	case <-c.ended:
		return c.status, nil
	case <-ctx.Done():
		return 0, contextError(ctx)
	}
}

// Kill ends the child and its descendants at once. Wait tells when it has.
func (c *Child) Kill(ctx context.Context) error {
	_, err := c.d.askAbout(ctx, "kill "+c.name, abi.Control{Op: abi.OpKill, Block: c.id}, abi.OpOK)
	return err
}

func (c *Child) end(m *abi.Control) {
	c.once.Do(func() {
		c.status, c.endCause = int(m.Detail), m.Text
		close(c.ended)
	})
}

// Children lists the children of this domain that live.
func (d *Domain) Children(ctx context.Context) (all []abi.Child, err error) {
	for last := uint32(0); ; {
		a, err := d.askAbout(ctx, "list children", abi.Control{Op: abi.OpChildren, Block: last}, abi.OpOK)
		if err != nil {
			return nil, err
		}
		list, err := abi.ParseChildren(a.Text)
		if err != nil || a.Detail != 0 && len(list) == 0 {
			return nil, &Error{Code: Internal, Message: "list children: the monitor's answer is malformed"}
		}
		if all = append(all, list...); a.Detail == 0 {
			return all, nil
		}
		last = list[len(list)-1].ID
	}
}

// Delegate lets another domain, or a child of this one, call one entry point in
// this domain's name, until the time is over, and at most so many times (0: no
// such limit). A policy must permit ward::Action::"grant". Each use is recorded.
func (d *Domain) Delegate(ctx context.Context, to, entry string, lifetime time.Duration, uses uint32) (*Delegation, error) {
	req := abi.LendRequest{To: to, Entry: entry, Lifetime: uint64(max(lifetime, 0)), Uses: uses}
	a, err := d.askAbout(ctx, "delegate "+entry+" to "+to, abi.Control{Op: abi.OpLend, Text: req.Encode()}, abi.OpLent)
	if err != nil {
		return nil, err
	}
	return &Delegation{d, a.Block}, nil
}

// Revoke ends the delegation: when it returns no message passes by it any more.
func (g *Delegation) Revoke(ctx context.Context) error {
	_, err := g.d.askAbout(ctx, "revoke a delegation", abi.Control{Op: abi.OpTakeBack, Block: g.id}, abi.OpOK)
	return err
}

// Loan waits until this domain has a delegation for an entry point that it has
// not ended yet, and returns it.
func (d *Domain) Loan(ctx context.Context, entry string) (*Loan, error) {
	for {
		d.kin.mu.Lock()
		arrived := d.kin.arrived
		for _, l := range d.kin.loans {
			if l.Entry == entry {
				d.kin.mu.Unlock()
				return l, nil
			}
		}
		d.kin.mu.Unlock()
		select {
		case <-arrived:
		case <-ctx.Done():
			return nil, contextError(ctx)
		}
	}
}

// Ended is closed when the delegation has ended.
func (l *Loan) Ended() <-chan struct{} { return l.ended }

// Open opens a gate by the delegation: only its entry point may be called there.
// server names who serves it; "" is whoever does.
func (l *Loan) Open(ctx context.Context, server string) (*Client, error) {
	return l.d.openBy(ctx, "open "+l.Entry+" in the name of "+l.From, abi.Control{Op: abi.OpBorrow, Block: l.id, Name: server})
}

// about takes what the monitor tells of children and delegations unasked, and
// reports whether it was that.
func (d *Domain) about(c *abi.Control) bool {
	if c.Seq != 0 {
		return false
	}
	k := d.kin
	k.mu.Lock()
	defer k.mu.Unlock()
	switch c.Op {
	case abi.OpChildEnded:
		if child := k.children[c.Block]; child != nil && child.name == c.Name {
			delete(k.children, c.Block)
			child.end(c)
		} else {
			k.early[c.Block] = c
		}
	case abi.OpLent:
		if k.loans[c.Block] != nil {
			break // a new monitor tells it again
		}
		k.loans[c.Block] = &Loan{d: d, id: c.Block, From: c.Name, Entry: c.Text, ended: make(chan struct{})}
		close(k.arrived)
		k.arrived = make(chan struct{})
	case abi.OpLentEnded:
		if l := k.loans[c.Block]; l != nil {
			delete(k.loans, c.Block)
			l.cause = c.Text
			close(l.ended)
		}
	default:
		return false
	}
	return true
}
