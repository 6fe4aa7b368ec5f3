package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"ward/creator"
)

// adopt makes the creator that is there know what a monitor that takes over
// knows. If creator and monitor died together, that creator has the image of the
// start and knows no domain: it would start domains with rights that a reload
// took away, and could signal none of those that run. One that knows them says so.
func (p *creatorPort) adopt(ctx context.Context, m runner) {
	p.mu.Lock()
	c := p.now
	p.mu.Unlock()
	running, sealed, err := m.Running()
	if err == nil && sealed != nil {
		err = c.Renew(ctx, sealed)
	}
	if sealed != nil {
		sealed.Close()
	}
	if err != nil && !errors.Is(err, creator.ErrGone) { // the next one is told all when it comes
		fmt.Fprintf(os.Stderr, "wardd monitor: the creator of before: %v\n", err)
		c.Leave(ctx) // it must not start anything of an image that is not in force; an error: it has died
	}
	adoptAll(ctx, c, running) // an error: it knows the domain
}

// askNow asks the creator that is there, and no other: the monitor asks so while
// it holds what the next creator must be told, and would wait for ever.
func (p *creatorPort) askNow(what func(*creator.Client) error) error {
	p.mu.Lock()
	c := p.now
	p.mu.Unlock()
	return what(c)
}
