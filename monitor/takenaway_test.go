package monitor

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"ward/abi"
	"ward/image"
	"ward/monitor/admin"
)

// TestGraceOfTheTakenAway: a domain that a change takes away is killed after its own time of
// grace, and not after the default one. The control is one that has no time of its own.
func TestGraceOfTheTakenAway(t *testing.T) {
	creator := &patientCreator{deaf: []abi.DomainID{server, second}}
	s := changingWith(t, func(c *Config) {
		creator.fakeCreator = c.Creator.(*fakeCreator)
		c.Creator, c.Grace = creator, time.Millisecond
		c.Image.Domains[second].Grace = uint64(time.Hour)
	})
	done, err := s.ask(&admin.Change{Image: sealed(t, changed(t, func(i *image.Image) {
		for _, d := range []abi.DomainID{server, second} {
			i.Domains[d].Start = image.Verdict{Policy: 1} // and no grace, as of what is gone
		}
	}))})
	if err != nil {
		t.Fatal(err)
	}
	if len(done.Stopped) != 2 {
		t.Errorf("stopped: %v", done.Stopped)
	}
	s.until("server has ended", func() bool { return s.m.domains[server].state == stateEnded })
	if err := creator.fakeCreator.Signal(t.Context(), second, syscall.SIGTERM); err != nil { // now it ends
		t.Errorf("who has more time has ended already: %v", err)
	}
	s.until("second has ended", func() bool { return s.m.domains[second].state == stateEnded })
	creator.mu.Lock()
	defer creator.mu.Unlock()
	at := func(d abi.DomainID, sig syscall.Signal) int { return slices.Index(creator.sent, sentSignal{d, sig}) }
	if at(server, syscall.SIGKILL) <= at(server, syscall.SIGTERM) || at(server, syscall.SIGTERM) < 0 || at(second, syscall.SIGTERM) < 0 {
		t.Errorf("sent: %v", creator.sent)
	}
	if at(second, syscall.SIGKILL) >= 0 {
		t.Errorf("who has time of its own is killed after that of others: %v", creator.sent)
	}
}
