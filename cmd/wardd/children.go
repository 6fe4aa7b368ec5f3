package main

import (
	"context"
	"errors"
	"os"

	"ward/creator"
	"ward/image"
	"ward/monitor"
)

// Spawn makes a child.
func (p *creatorPort) Spawn(ctx context.Context, o monitor.Order, control, output *os.File) (m monitor.Process, err error) {
	err = p.ask(ctx, func(c *creator.Client) error {
		s, err := c.Spawn(ctx, creator.Order{Child: o.Child, Parent: o.Parent, Template: o.Template, Name: o.Name,
			Quota: o.Quota, Adopted: o.Adopted, Until: o.Until}, control, output)
		m = monitor.Process{PID: s.PID, UID: s.UID, Cgroup: s.Cgroup, Pidfd: s.Pidfd, Ring: s.Ring, Notify: s.Notify}
		return err
	})
	return m, err
}

// EndChildren kills all children.
func (p *creatorPort) EndChildren(ctx context.Context) error {
	return p.askNow(func(c *creator.Client) error { return c.EndChildren(ctx) })
}

var _ monitor.Spawner = (*creatorPort)(nil)

// errChain: a library that checks for itself knows one policy for a client.
var errChain = errors.New("children and delegations need filters in the kernel, which this level does not have")

// Fits refuses all children: what several policies allow together only the kernel's filters check.
func (classicPort) Fits(*image.Image, uint32, monitor.Atoms) error { return errChain }
