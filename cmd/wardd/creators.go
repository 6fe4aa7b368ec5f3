package main

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"

	"ward/abi"
	"ward/creator"
	"ward/monitor"
)

// creatorPort is creator.Client as the monitor sees it: that of the creator
// that is there now. What was asked of one that died is asked of the next.
type creatorPort struct {
	exits chan monitor.Exit
	hits  chan monitor.Hit

	mu     sync.Mutex
	now    *creator.Client
	next   chan struct{}  // closed when there is another
	told   chan struct{}  // closed when all that it tells unasked is passed on
	acting sync.WaitGroup // what was passed on and has a number, until it is acted on

	renewing bool           // another is told what runs: what the one before made and nobody lists is not known to it
	arriving sync.WaitGroup // what was made, and nobody lists yet
}

func newCreatorPort(c *creator.Client) *creatorPort {
	p := &creatorPort{exits: make(chan monitor.Exit), hits: make(chan monitor.Hit), next: make(chan struct{}), told: make(chan struct{})}
	close(p.told)
	p.install(c)
	return p
}

// install makes c the creator that is asked from now on.
func (p *creatorPort) install(c *creator.Client) {
	p.mu.Lock()
	p.now, p.renewing = c, false
	close(p.next)
	p.next = make(chan struct{})
	before, told := p.told, make(chan struct{})
	p.told = told
	p.mu.Unlock()
	go func() {
		defer close(told)
		<-before // what the one before told last is older
		p.pass(c)
	}()
}

// pass passes on what a creator tells unasked: what a domain ran into before its end.
func (p *creatorPort) pass(c *creator.Client) {
	hits := c.Hits()
	count := func(number uint64) {
		if number != 0 {
			p.acting.Add(1)
		}
	}
	hit := func(h creator.Hit) {
		count(h.Number)
		p.hits <- monitor.Hit{Domain: h.Domain, Limit: monitor.LimitKind(h.Limit), Count: h.Count, Number: h.Number}
	}
	exit := func(x creator.Exit) {
		for {
			select {
			case h, more := <-hits:
				if more {
					hit(h)
					continue
				}
				hits = nil
			default:
			}
			count(x.Number)
			p.exits <- monitor.Exit{Domain: x.Domain, PID: x.PID, Status: x.Status, Refused: x.Refused, Number: x.Number}
			return
		}
	}
	for exits := c.Exits(); exits != nil; {
		select {
		case h, more := <-hits:
			if !more {
				hits = nil
				continue
			}
			hit(h)
		case x, more := <-exits:
			if !more {
				exits = nil
				continue
			}
			exit(x)
		}
	}
}

// ask asks the creator that is there, and the next one if that one has died,
// until ctx ends.
func (p *creatorPort) ask(ctx context.Context, what func(*creator.Client) error) error {
	for {
		p.mu.Lock()
		c, next := p.now, p.next
		p.mu.Unlock()
		err := what(c)
		if !errors.Is(err, creator.ErrGone) {
			return err
		}
		select {
		case <-next:
		case <-ctx.Done():
			return err
		}
	}
}

func (p *creatorPort) Start(ctx context.Context, domain abi.DomainID, control, output *os.File) (m monitor.Process, err error) {
	err = p.ask(ctx, func(c *creator.Client) error {
		s, err := c.Start(ctx, domain, control, output)
		return p.made(c, s, err, &m)
	})
	return m, err
}

// made takes what a creator says that it has made. If that one has died since,
// and the next one is being told what runs, it is too late: the next one ends
// it, and makes another.
func (p *creatorPort) made(c *creator.Client, s creator.Started, err error, m *monitor.Process) error {
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now != c || p.renewing {
		for _, f := range []*os.File{s.Pidfd, s.Ring, s.Notify} {
			if f != nil {
				f.Close()
			}
		}
		return creator.ErrGone
	}
	p.arriving.Add(1)
	*m = monitor.Process{PID: s.PID, UID: s.UID, Cgroup: s.Cgroup, Pidfd: s.Pidfd, Ring: s.Ring, Notify: s.Notify, Arrived: sync.OnceFunc(p.arriving.Done)}
	return nil
}

func (p *creatorPort) Signal(ctx context.Context, domain abi.DomainID, sig syscall.Signal) error {
	return p.ask(ctx, func(c *creator.Client) error { return c.Signal(ctx, domain, sig) })
}

func (p *creatorPort) Renew(ctx context.Context, sealed *os.File) error {
	return p.ask(ctx, func(c *creator.Client) error { return c.Renew(ctx, sealed) })
}

// Undo takes back a start of which nobody was told.
func (p *creatorPort) Undo(ctx context.Context, domain abi.DomainID) error {
	return p.askNow(func(c *creator.Client) error { return c.Undo(ctx, domain) })
}

func (p *creatorPort) Exits() <-chan monitor.Exit { return p.exits }
func (p *creatorPort) Hits() <-chan monitor.Hit   { return p.hits }

// Heard tells the creator that is there. One that did not tell it does not mind.
func (p *creatorPort) Heard(number uint64) {
	defer p.acting.Done()
	p.askNow(func(c *creator.Client) error {
		c.Heard(number)
		return nil
	})
}

// renewed makes a new creator, at the other end of conn, know what runs, and
// then the one that is asked.
//
// One that cannot be told all leaves, and all that runs goes on: the holder starts the
// next one, and stops the system if none of many can be.
func (p *creatorPort) renewed(ctx context.Context, m runner, conn *os.File) error {
	c := creator.NewClient(conn)
	p.mu.Lock()
	p.renewing = true
	told := p.told
	p.mu.Unlock()
	p.arriving.Wait()
	<-told // what the one before told last counts
	p.acting.Wait()
	err := tellAll(ctx, m, c)
	if err != nil {
		c.Leave(ctx) // an error: it has died
	}
	p.install(c) // of one that has left, too: what it told is passed on, and what it is asked the next one is
	if errors.Is(err, creator.ErrGone) {
		return nil
	}
	return err
}

// A runner is what renewed needs of a monitor.
type runner interface {
	Running() ([]monitor.Running, *os.File, error)
}

// tellAll makes a new creator know the image in force and all that runs.
func tellAll(ctx context.Context, m runner, c *creator.Client) error {
	running, sealed, err := m.Running()
	if err != nil {
		return err
	}
	if sealed != nil {
		err = c.Renew(ctx, sealed)
		sealed.Close()
	}
	if err = errors.Join(err, adoptAll(ctx, c, running)); err != nil {
		return err
	}
	return c.Settle(ctx)
}
