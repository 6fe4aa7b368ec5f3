package monitor

import (
	"context"
	"errors"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"ward/abi"
	"ward/audit/event"
	"ward/image"
	"ward/monitor/admin"
)

// without is the test's image without these domains, as a change has it that takes them away.
func without(t *testing.T, gone ...abi.DomainID) *image.Image {
	return changed(t, func(i *image.Image) {
		for _, d := range gone {
			i.Domains[d].Start = image.Verdict{Policy: 1}
		}
	})
}

// sentTo is how often a domain was sent a signal.
func (c *patientCreator) sentTo(d abi.DomainID, sig syscall.Signal) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sent {
		if s == (sentSignal{d, sig}) {
			n++
		}
	}
	return n
}

// TestTakenAwayIsKept: before whichever of its messages a monitor dies that takes domains away, the
// next one ends them: at once whose time is over, and who has time of its own has what is
// left of it, asked once unless the monitor died in that moment. Each end is recorded once. Where the change
// is not made, nobody is ended.
func TestTakenAwayIsKept(t *testing.T) {
	const own = time.Hour
	var creator *patientCreator
	kept := 0 // how often the next one went on waiting
	d := doing{
		change: func(c *Config) {
			creator = &patientCreator{fakeCreator: c.Creator.(*fakeCreator), deaf: []abi.DomainID{server, second}}
			c.Creator, c.Grace = creator, time.Millisecond
			c.Image.Domains[second].Grace = uint64(own)
		},
		before: func(*system) any { return nil },
		do: func(s *system, _ any) {
			if _, err := s.ask(&admin.Change{Image: sealed(s.t, without(s.t, server, second))}); err != nil {
				s.t.Error(err)
			}
			s.until("server has ended", func() bool { return s.m.domains[server].state == stateEnded })
		},
		after: func(h *heir) {
			defer creator.fakeCreator.Signal(context.Background(), second, syscall.SIGTERM) // the monitor that died waits for it here
			h.m.mu.Lock()
			made := !h.m.Image.Domains[second].Start.Allow
			l := h.m.domains[second].leaving
			var left time.Duration
			asked := false
			if l != nil {
				left, asked = l.left(), l.Asked
			}
			h.m.mu.Unlock()
			if !made {
				if l != nil || len(h.m.running()) != 3 {
					h.t.Errorf("nothing was changed, and %d run; %+v", len(h.m.running()), l)
				}
				h.wants("reloaded", h.count(event.Reloaded, nil), 0)
				h.wants("ended", h.count(event.Ended, nil), 0)
				return
			}
			h.until("server has ended", func() bool { return h.m.domains[server].state == stateEnded })
			if asked { // by one of the two
				if left <= own-wait || left > own {
					h.t.Errorf("who has time of its own has %v left", left)
				}
				if err := h.creator.Signal(context.Background(), second, syscall.SIGTERM); err == nil {
					kept++
				}
			}
			h.until("second has ended", func() bool { return h.m.domains[second].state == stateEnded })
			h.wants("reloaded", h.count(event.Reloaded, nil), 1)
			for _, d := range []abi.DomainID{server, second} {
				h.wants("ended", h.count(event.Ended, about(d)), 1)
			}
			if n := creator.sentTo(second, syscall.SIGKILL); n > 0 {
				h.t.Errorf("it was killed %d times", n)
			}
		},
	}
	d.atEveryMessage(t)
	if kept == 0 {
		t.Error("no next monitor waited for what is left of a time of grace")
	}
}

// TestTakenAwayBeforeAsked: a monitor that dies right after a change, before it asked anybody to end, has
// kept how long each has; the next one asks. If it dies after it asked, nobody is asked again.
func TestTakenAwayBeforeAsked(t *testing.T) {
	for name, c := range map[string]struct {
		last  string // of what is kept
		asked int    // by the next one
	}{
		"before": {keptImage, 1},
		"after":  {key(keptNow, uint32(second)), 0},
	} {
		t.Run(name, func(t *testing.T) { takenAwayAsked(t, c.last, c.asked) })
	}
}

func takenAwayAsked(t *testing.T, last string, asked int) {
	const own = time.Hour
	keeper, changed, died, next := &aKeeper{}, false, false, &patientCreator{deaf: []abi.DomainID{second}}
	asks := make(chan struct{}) // closed when the last is kept
	keeper.dies = func(name string) bool {
		was := died
		changed = changed || name == "put "+keptImage
		if !died && changed && name == "put "+last {
			died = true
			close(asks)
		}
		return was
	}
	var first *patientCreator
	var cfg Config
	s := startSystem(t, func(c *Config) {
		keeper.fakeHolder = c.Holder.(fakeHolder)
		c.Holder, c.Fabric = keeper, &aFabric{c.Fabric.(*fakeFabric), map[uint32]Gate{}}
		c.Sealed, c.Hash, c.Grace = sealed(t, c.Image), image.Hash(image.Encode(c.Image)), time.Millisecond
		c.Image.Domains[second].Grace = uint64(own)
		first = &patientCreator{fakeCreator: c.Creator.(*fakeCreator), deaf: []abi.DomainID{second}}
		c.Creator = first
		cfg = *c
	})
	defer first.fakeCreator.Signal(context.Background(), second, syscall.SIGTERM) // the monitor that died waits for it here
	cfg.Sealed = nil
	if _, err := s.ask(&admin.Change{Image: sealed(t, without(t, second))}); err != nil {
		t.Fatal(err)
	}
	<-asks
	h := s.inheritOf(keeper, cfg, func(c *Config) {
		next.fakeCreator = c.Creator.(*fakeCreator)
		c.Creator = next
	})
	h.until("it is asked", func() bool { l := h.m.domains[second].leaving; return l != nil && l.Asked })
	h.m.mu.Lock()
	left := h.m.domains[second].leaving.left()
	h.m.mu.Unlock()
	if left <= own-wait || left > own {
		t.Errorf("it has %v left, of %v", left, own)
	}
	h.m.Stop()
	h.until("the others have ended", func() bool {
		return h.m.domains[client].state == stateEnded && h.m.domains[server].state == stateEnded
	})
	if err := next.fakeCreator.Signal(t.Context(), second, syscall.SIGTERM); err != nil {
		t.Errorf("it was killed: %v", err)
	}
	<-h.m.work.idle // nothing is under way any more
	if n := next.sentTo(second, syscall.SIGTERM); n != asked {
		t.Errorf("it was asked %d times, want %d", n, asked)
	}
}

// TestGraceLeft: at the stop a domain that is to end already has what is left of its time.
func TestGraceLeft(t *testing.T) {
	m := &Monitor{Config: Config{Grace: time.Second}}
	d := &domain{def: &image.Domain{Grace: uint64(time.Minute)}}
	for _, c := range []struct {
		leave *leave
		want  time.Duration
	}{{nil, time.Minute}, {&leave{Until: 1005}, 5}, {&leave{Until: 1000}, 0}, {&leave{Until: 7}, 0}} {
		d.leaving = c.leave
		if got := m.graceSince(d, 1000); got != c.want {
			t.Errorf("%+v: %v, want %v", c.leave, got, c.want)
		}
	}
}

// failingSwap is a fabric in which the new policy does not come into force everywhere.
type failingSwap struct{ Fabric }

type failedSwap struct{ Swap }

func (f failingSwap) Prepare(img *image.Image, changes []Change) (Swap, error) {
	s, err := f.Fabric.Prepare(img, changes)
	return failedSwap{s}, err
}

func (s failedSwap) Commit() (time.Duration, error) {
	took, _ := s.Swap.Commit()
	return took, errors.New("it is a test")
}

// Where a change is not in force everywhere, it is in force: who may not run any more is ended.
func TestTakenAwayThoughNotEverywhere(t *testing.T) {
	s := changingWith(t, func(c *Config) { c.Fabric = failingSwap{c.Fabric} })
	if _, err := s.ask(&admin.Change{Image: sealed(t, without(t, second))}); err == nil {
		t.Error("nobody says that it is not in force everywhere")
	}
	s.until("second has ended", func() bool { return s.m.domains[second].state == stateEnded })
}

// A next monitor that finds a domain running that may not, and of which nothing is kept, ends it.
func TestTakenAwayUnnoted(t *testing.T) {
	keeper := &aKeeper{}
	var cfg Config
	s := startSystem(t, func(c *Config) {
		keeper.fakeHolder = c.Holder.(fakeHolder)
		c.Holder, c.Fabric = keeper, &aFabric{c.Fabric.(*fakeFabric), map[uint32]Gate{}}
		cfg = *c
	})
	s.until("all is started", func() bool { return s.m.started })
	cfg.Image = without(t, second)
	h := s.inherit(keeper, cfg)
	h.until("second has ended", func() bool { return h.m.domains[second].state == stateEnded })
	if n := len(h.m.running()); n != 2 {
		t.Errorf("%d run, want 2", n)
	}
}

// TestTakenAwayAgain: a domain that may run again is not killed when its time would be over;
// taken away once more it is asked once more, and has its whole time.
func TestTakenAwayAgain(t *testing.T) {
	const own = time.Hour
	var creator *patientCreator
	s := changingWith(t, func(c *Config) {
		creator = &patientCreator{fakeCreator: c.Creator.(*fakeCreator), deaf: []abi.DomainID{second}}
		c.Creator, c.Grace = creator, time.Millisecond
		c.Image.Domains[second].Grace = uint64(own)
	})
	t.Cleanup(func() { creator.fakeCreator.Signal(context.Background(), second, syscall.SIGTERM) })
	stays := changed(t, func(i *image.Image) { i.Domains[second].Grace = uint64(own) })
	var first *leave
	for n, img := range []*image.Image{without(t, second), stays, without(t, second)} {
		if _, err := s.ask(&admin.Change{Image: sealed(t, img)}); err != nil {
			t.Fatal(err)
		}
		s.m.mu.Lock()
		l := s.m.domains[second].leaving
		s.m.mu.Unlock()
		if n == 1 {
			if l != nil {
				t.Errorf("it may run again, and is to end: %+v", l)
			}
			select {
			case <-first.stays.Done():
			case <-time.After(wait):
				t.Error("it may run again, and is waited for")
			}
			continue
		}
		if l == nil || l == first || l.left() <= own-wait {
			t.Fatalf("change %d: %+v", n, l)
		}
		first = l
		s.until("it is asked", func() bool { return l.Asked })
		if got, want := creator.sentTo(second, syscall.SIGTERM), n/2+1; got != want {
			t.Errorf("change %d: it was asked %d times, want %d", n, got, want)
		}
	}
	// The system stops: it is not asked a third time, and nobody kills it.
	s.m.Stop()
	s.until("the others have ended", func() bool {
		return s.m.domains[client].state == stateEnded && s.m.domains[server].state == stateEnded
	})
	if err := creator.fakeCreator.Signal(t.Context(), second, syscall.SIGTERM); err != nil {
		t.Errorf("it was killed: %v", err)
	}
	<-s.status
	if got := creator.sentTo(second, syscall.SIGTERM); got != 2 {
		t.Errorf("it was asked %d times, want 2", got)
	}
	if got := creator.sentTo(second, syscall.SIGKILL); got != 0 {
		t.Errorf("it was killed")
	}
}

// aFailingCreator does not get to kill a domain the first times.
type aFailingCreator struct {
	Creator
	mu    sync.Mutex
	fails int
	kills int
}

func (c *aFailingCreator) Signal(context.Context, abi.DomainID, syscall.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kills++; c.kills <= c.fails {
		return errors.New("it has died")
	}
	return nil
}

// TestKilledUntilEnded: a domain whose time is over is killed again as long as it has not ended, because
// a creator may have died before it did that.
func TestKilledUntilEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		creator := &aFailingCreator{fails: 2}
		m := &Monitor{Config: Config{Creator: creator, Audit: &fakeAudit{}}, work: newWork(), stop: make(chan struct{})}
		d := &domain{}
		d.leaves(&leave{Asked: true})
		seen := make(chan struct{})
		go func() {
			m.seeOff(d, d.leaving)
			close(seen)
		}()
		<-time.After(3 * killWait)
		synctest.Wait()
		select {
		case <-seen:
			t.Error("it has not ended, and nobody waits for it")
		default:
		}
		creator.mu.Lock()
		if creator.kills <= creator.fails {
			t.Errorf("killed %d times", creator.kills)
		}
		creator.mu.Unlock()
		m.mu.Lock()
		d.leaves(nil)
		m.mu.Unlock()
		<-seen
	})
}

// A tellingHolder notes what it is told of times of grace, and what is in force then.
type tellingHolder struct {
	fakeHolder
	mu    sync.Mutex
	told  []time.Duration
	hash  []string
	m     *Monitor
	fails error
}

func (h *tellingHolder) Grace(longest time.Duration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	h.told, h.hash = append(h.told, longest), append(h.hash, h.m.Hash)
	return h.fails
}

// TestHolderHearsOfGrace: the holder is told the longest time of grace of a new image before that is in
// force, and a change of which it cannot be told is not made.
func TestHolderHearsOfGrace(t *testing.T) {
	holder := &tellingHolder{}
	s := changingWith(t, func(c *Config) {
		holder.fakeHolder = c.Holder.(fakeHolder)
		c.Holder = holder
	})
	s.m.mu.Lock()
	before := s.m.Hash
	s.m.mu.Unlock()
	holder.m = s.m
	img := changed(t, func(i *image.Image) {
		i.Domains[client].Grace, i.Domains[server].Grace = uint64(time.Minute), uint64(time.Hour)
	})
	if _, err := s.ask(&admin.Change{Image: sealed(t, img)}); err != nil {
		t.Fatal(err)
	}
	holder.mu.Lock()
	defer holder.mu.Unlock()
	if !slices.Equal(holder.told, []time.Duration{time.Hour}) || !slices.Equal(holder.hash, []string{before}) {
		t.Errorf("told %v when %.8q was in force", holder.told, holder.hash)
	}
	holder.fails = errors.New("it is a test")
	holder.mu.Unlock()
	_, err := s.ask(&admin.Change{Image: sealed(t, testImage())})
	holder.mu.Lock()
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if err == nil || s.m.Hash != image.Hash(image.Encode(img)) {
		t.Errorf("changed though the holder does not hear: %v", err)
	}
}
