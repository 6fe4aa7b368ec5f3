package main

import (
	"context"
	"errors"
	"os"
	"sync"

	"ward/creator"
	"ward/image"
	"ward/monitor"
)

// Spawn makes a child.
func (p *creatorPort) Spawn(ctx context.Context, o monitor.Order, control, output *os.File) (m monitor.Process, err error) {
	err = p.ask(ctx, func(c *creator.Client) error {
		s, err := c.Spawn(ctx, creator.Order{Child: o.Child, Parent: o.Parent, Template: o.Template, Name: o.Name,
			Quota: o.Quota, Adopted: o.Adopted, Until: o.Until}, control, output)
		return p.made(c, s, err, &m)
	})
	if errors.Is(err, creator.ErrQuota) {
		err = quotaError{err}
	}
	return m, err
}

// quotaError is the creator's refusal for a quota, as the monitor knows it.
type quotaError struct{ error }

func (quotaError) Is(err error) bool { return err == monitor.ErrQuota }

// adoptions is how many requests to adopt are on their way at a time.
const adoptions = 32

// adoptAll makes a creator know what runs, in the order of m.Running: parents
// before their children.
func adoptAll(ctx context.Context, c *creator.Client, running []monitor.Running) error {
	var errs []error
	for len(running) > 0 {
		n := 1
		for n < min(len(running), adoptions) && running[n].Generation() == running[0].Generation() {
			n++
		}
		answers := make([]error, n)
		var asked sync.WaitGroup
		for i := range answers {
			asked.Go(func() { answers[i] = adoptOne(ctx, c, &running[i]) })
		}
		asked.Wait()
		errs, running = append(errs, answers...), running[n:]
	}
	return errors.Join(errs...)
}

// adoptOne makes a creator know a domain or child that runs.
func adoptOne(ctx context.Context, c *creator.Client, r *monitor.Running) error {
	defer r.Pidfd.Close()
	counted := creator.Counted{Processes: r.Processes, Memory: r.Memory}
	if k := r.Kin; k != nil {
		return c.AdoptChild(ctx, creator.Kinship{Root: k.Root, Line: k.Line, Adopted: k.Adopted, Until: k.Until, Counted: &counted}, r.PID, r.Pidfd)
	}
	return c.Adopt(ctx, r.Domain, r.PID, r.Pidfd, counted)
}

var _ monitor.Spawner = (*creatorPort)(nil)

// errChain: a library that checks for itself knows one policy for a client.
var errChain = errors.New("children and delegations need filters in the kernel, which this level does not have")

// Fits refuses all children: what several policies allow together only the kernel's filters check.
func (classicPort) Fits(*image.Image, uint32, monitor.Atoms) error { return errChain }
