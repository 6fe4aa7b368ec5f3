package monitor

import (
	"context"
	"syscall"
	"testing"
	"time"

	"ward/abi"
	"ward/monitor/admin"
)

// An absentCreator has died, and the next one is not there: whoever asks it waits.
type absentCreator struct {
	Creator
	asked chan syscall.Signal
	sent  chan syscall.Signal // by the one that comes
	comes chan struct{}
}

func (c *absentCreator) Signal(ctx context.Context, _ abi.DomainID, sig syscall.Signal) error {
	c.asked <- sig
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.comes:
	}
	if err := ctx.Err(); err != nil { // that came before
		return err
	}
	c.sent <- sig
	return nil
}

func leavingOf(creator Creator, l *leave) (*Monitor, *domain) {
	m := &Monitor{Config: Config{Creator: creator, Audit: &fakeAudit{}}, work: newWork(), stop: make(chan struct{})}
	d := &domain{}
	d.leaves(l)
	return m, d
}

// TestNotKilledAfterItsEnd: a domain that has ended in the moment in which its time is over is not
// killed: who has its number then is another process. The control is TestKilledUntilEnded.
func TestNotKilledAfterItsEnd(t *testing.T) {
	for range 64 { // select takes either
		creator := &aFailingCreator{}
		m, d := leavingOf(creator, &leave{Asked: true})
		l := d.leaving
		d.leaves(nil)
		m.seeOff(d, l)
		if creator.kills > 0 {
			t.Fatal("it was killed though it had ended")
		}
	}
}

// TestNotSignalledByTheNextCreator: who waits for a creator to ask or kill a domain waits no longer when it has
// ended, or may stay. The control is that the next creator sends what it is asked for before that.
func TestNotSignalledByTheNextCreator(t *testing.T) {
	for name, c := range map[string]struct {
		leave leave
		want  syscall.Signal
	}{
		"asked":  {leave{Until: 1 << 62}, syscall.SIGTERM},
		"killed": {leave{Asked: true}, syscall.SIGKILL},
	} {
		for _, ends := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				creator := &absentCreator{asked: make(chan syscall.Signal, 1), sent: make(chan syscall.Signal, 1), comes: make(chan struct{})}
				l := c.leave
				m, d := leavingOf(creator, &l)
				seen := make(chan struct{})
				go func() {
					m.seeOff(d, &l)
					close(seen)
				}()
				if got := <-creator.asked; got != c.want {
					t.Fatalf("asked for signal %v", got)
				}
				if !ends {
					close(creator.comes)
					if got := <-creator.sent; got != c.want {
						t.Errorf("sent signal %v", got)
					}
				}
				m.mu.Lock()
				d.leaves(nil)
				m.mu.Unlock()
				if ends {
					close(creator.comes)
				}
				select {
				case <-seen:
				case <-time.After(wait):
					t.Error("it has ended, and is waited for")
				}
				if len(creator.sent) > 0 {
					t.Errorf("it had ended, and whoever has its number then is sent signal %v", <-creator.sent)
				}
			})
		}
	}
}

// TestEndingIsShown: a domain that is to end is not shown as one that runs as others do, and has a process.
func TestEndingIsShown(t *testing.T) {
	s := startSystem(t, nil)
	s.m.mu.Lock()
	s.m.domains[second].leaves(&leave{})
	s.m.mu.Unlock()
	for id, want := range map[abi.DomainID]string{second: admin.Ending, server: admin.Running} {
		if d, ok := s.m.describe(id, false); !ok || d.State != want || !d.Lives() {
			t.Errorf("domain %d is shown as %q, want %q", id, d.State, want)
		}
	}
}
