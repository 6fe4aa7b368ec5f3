package monitor

import (
	"context"
	"errors"
	"os"
	"testing"

	"ward/image"
	"ward/monitor/admin"
)

// A mortalCreator calls a hook right after it has taken an image: where the
// creator dies, as far as the monitor can tell.
type mortalCreator struct {
	*fakeCreator
	taken func()
}

func (c *mortalCreator) Renew(ctx context.Context, sealed *os.File) error {
	err := c.fakeCreator.Renew(ctx, sealed)
	if c.taken != nil {
		c.taken()
	}
	return err
}

// nextCreator returns the image that a creator which comes now is given; empty:
// none but the one of the start.
func (s *system) nextCreator() string {
	s.t.Helper()
	running, f, err := s.m.Running()
	for _, r := range running {
		r.Pidfd.Close()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	if f == nil {
		return ""
	}
	defer f.Close()
	_, encoded, err := readSealed(f)
	if err != nil {
		s.t.Fatal(err)
	}
	return image.Hash(encoded)
}

// The creator dies after it took the new image, and before the monitor decides by
// it: the one that comes in its place has the new image, too.
func TestCreatorDiesDuringChange(t *testing.T) {
	creator := &mortalCreator{}
	s := changingWith(t, func(c *Config) {
		creator.fakeCreator = c.Creator.(*fakeCreator)
		c.Creator = creator
	})
	next := narrower(t)
	want := image.Hash(image.Encode(next))
	deaths := 0
	creator.taken = func() {
		deaths++
		s.m.mu.Lock()
		inForce := s.m.Hash
		s.m.mu.Unlock()
		if inForce == want {
			t.Error("the image is in force already: the test shows nothing")
		}
		if got := s.nextCreator(); got != want {
			t.Errorf("a creator that comes now has the image %.8q, want %.8q", got, want)
		}
	}
	if got := s.nextCreator(); got != "" {
		t.Errorf("before the change: %.8q", got)
	}
	if _, err := s.ask(changeTo(t, next)); err != nil {
		t.Fatal(err)
	}
	if got := s.nextCreator(); got != want || deaths != 1 {
		t.Errorf("after the change: %.8q, want %.8q; %d deaths", got, want, deaths)
	}
}

// A change that fails after the creator took the image: one that comes then has
// the image that stays in force.
func TestCreatorDiesAfterFailedChange(t *testing.T) {
	creator := &mortalCreator{}
	s := changingWith(t, func(c *Config) {
		creator.fakeCreator = c.Creator.(*fakeCreator)
		c.Creator = creator
	})
	creator.stubborn = errors.New("no")
	var got []string
	creator.taken = func() {
		got = append(got, s.nextCreator())
		creator.fakeCreator.mu.Lock()
		creator.stubborn = nil
		creator.fakeCreator.mu.Unlock()
	}
	next := narrower(t)
	if _, err := s.ask(changeTo(t, next)); err == nil {
		t.Fatal("the change was made")
	}
	if len(got) != 2 || got[0] != image.Hash(image.Encode(next)) || got[1] != "" {
		t.Errorf("creators that come are given %.8q", got)
	}
	creator.taken = nil
}

// changeTo is the request for a change to an image.
func changeTo(t *testing.T, img *image.Image) *admin.Change {
	return &admin.Change{Image: sealed(t, img)}
}

// The monitor dies in between: the next one gives the creator the image in force,
// though it is that of the start.
func TestMonitorDiesDuringChange(t *testing.T) {
	m := &Monitor{Config: Config{Sealed: sealed(t, testImage())}}
	r := &restoring{m: m}
	if f, err := m.imageOfCreator(); err != nil || f != nil {
		t.Fatalf("without what was kept: %v, %v", f, err)
	}
	if err := r.renewed("", &Kept{Name: keptRenewing}); err != nil {
		t.Fatal(err)
	}
	f, err := m.imageOfCreator()
	if err != nil || f == nil {
		t.Fatalf("the creator is given nothing: %v", err)
	}
	f.Close()
}
