package monitor

import (
	"context"
	"strings"
	"testing"

	"ward/monitor/admin"
)

// heldHolder lets the start of the system end only when it is released.
type heldHolder struct {
	fakeHolder
	release chan struct{}
}

func (h heldHolder) Ready() error {
	err := h.fakeHolder.Ready()
	<-h.release
	return err
}

// starting is a system whose domains run, and whose start has not ended.
func starting(t *testing.T) (s *system, release chan struct{}) {
	release = make(chan struct{})
	return changingWith(t, func(c *Config) { c.Holder = heldHolder{c.Holder.(fakeHolder), release} }), release
}

// A change that is asked for while the system starts waits for it.
func TestChangeAwaitsStart(t *testing.T) {
	s, release := starting(t)
	same := sealed(t, s.img)
	answer := make(chan error)
	go func() {
		_, err := s.ask(&admin.Change{Image: same, DryRun: true})
		answer <- err
	}()
	if _, err := admin.PS(context.Background(), s.m.RunDir); err != nil {
		t.Error(err)
	}
	close(release)
	if err := <-answer; err != nil {
		t.Error(err)
	}
}

// One that waits when the system stops is told so, at once.
func TestChangeOfStoppingSystem(t *testing.T) {
	s, release := starting(t)
	defer close(release)
	s.m.Stop()
	_, err := s.ask(&admin.Change{Image: sealed(t, s.img), DryRun: true})
	if err == nil || !strings.Contains(err.Error(), "starting or stopping") {
		t.Errorf("a change while the system stops: %v", err)
	}
}
