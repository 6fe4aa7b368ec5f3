package kernel

import (
	"errors"
	"testing"

	"ward/abi"
	"ward/filter"
	"ward/image"
)

// kept reports an endpoint whose maps are closed.
func (e *Endpoint) kept() error {
	_, err := e.Counters()
	return err
}

// other loads the policy of the route between two more endpoints.
func (g *gateTest) other() (r *Route, ends [2]*Endpoint) {
	g.t.Helper()
	for i := range ends {
		var err error
		if ends[i], err = g.f.AddEndpoint(abi.DomainID(i), 0, 4, 4096); err != nil {
			g.t.Fatal(err)
		}
	}
	r, err := g.f.Load(g.route.spec, ends[0], ends[1])
	if err != nil {
		g.t.Fatal(err)
	}
	return r, ends
}

// An endpoint that is closed before its routes goes with the last of them: nobody
// has to ask for it again, and nothing of it stays.
func TestEndpointGoesWithItsRoutes(t *testing.T) {
	g := newGateTest(t, echoImage(), FabricConfig{Gates: 4, Programs: 8})
	r, ends := g.other()
	again, err := g.f.Load(g.route.spec, ends[0], ends[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(ends[0].Close(), ends[1].Close(), r.Close()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(ends[0].kept(), ends[1].kept()); err != nil {
		t.Errorf("one route is left: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	for i, e := range ends {
		if e.kept() == nil {
			t.Errorf("endpoint %d is left", i)
		}
	}
	if err := errors.Join(g.client.kept(), g.server.kept()); err != nil {
		t.Errorf("another's: %v", err)
	}
}

// A domain that ends while a change of the policy is prepared does not spoil the change:
// its route, whose programs are being verified, is closed, and its endpoint.
func TestRouteGoesWhileSwapped(t *testing.T) {
	g := stateTest(t, stateImage(image.Rule{}), FabricConfig{Buckets: 8})
	spec, err := filter.Build(stateImage(image.Rule{}, limited(hour, 1)), 0, filter.Atoms{User: -1})
	if err != nil {
		t.Fatal(err)
	}
	gone, ends := g.other()
	begun, over := make(chan struct{}, 8), make(chan struct{})
	b := g.f.buckets
	b.mu.Lock() // all rows were given back of late, so that the first bucket waits for a grace period
	var rows []uint32
	for range b.rows.limit {
		row, err := b.rows.get(&b.mu)
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	for _, row := range rows {
		b.rows.put(row)
	}
	b.rows.grace = func() error {
		begun <- struct{}{}
		<-over
		return graceperiod()
	}
	b.mu.Unlock()
	done := make(chan error)
	go func() {
		_, err := g.f.Swap([]Change{{gone, spec}, {g.route, spec}})
		done <- err
	}()
	select {
	case <-begun:
	case err := <-done:
		t.Fatalf("it waits for no bucket: %v", err)
	}
	if err := errors.Join(gone.Close(), ends[0].Close(), ends[1].Close()); err != nil {
		t.Error(err)
	}
	close(over)
	if err := <-done; err != nil {
		t.Errorf("the change: %v", err)
	}
	for i, e := range ends {
		if e.kept() == nil {
			t.Errorf("endpoint %d is left", i)
		}
	}
	g.mustSend(abi.Request, unary(1, 1, 1)) // which the policy before permits not even once
	g.mustDeny(abi.Request, unary(2, 1, 1), abi.ReasonRate)
}
