package monitor

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"ward/audit/event"
	"ward/image"
)

// A slowCreator takes an image and does not answer, as long as it is slow: whoever asks waits until
// it gives up. Then it answers.
type slowCreator struct {
	*fakeCreator
	mu      sync.Mutex
	slow    int           // how many questions are not answered
	waits   chan struct{} // has an element for each of them
	quick   chan struct{} // closed: it answers
	refuses error         // what it answers then
	given   []string      // images that it was given, in order
}

func (c *slowCreator) Renew(ctx context.Context, sealed *os.File) error {
	_, encoded, err := readSealed(sealed)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	c.given = append(c.given, image.Hash(encoded))
	c.slow--
	slow := c.slow >= 0
	c.mu.Unlock()
	if slow {
		c.waits <- struct{}{}
		select {
		case <-c.quick:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if c.refuses != nil {
		return c.refuses
	}
	return c.fakeCreator.Renew(context.Background(), sealed)
}

// tooSlow is a system in which a change is given up because the creator does not answer, and
// who is to give it the policy in force again waits for it, too.
func tooSlow(t *testing.T) (*system, *slowCreator, *aKeeper) {
	creator, keeper := &slowCreator{slow: 2, waits: make(chan struct{}, 8), quick: make(chan struct{})}, &aKeeper{}
	s := changingWith(t, func(c *Config) {
		creator.fakeCreator = c.Creator.(*fakeCreator)
		keeper.fakeHolder = c.Holder.(fakeHolder)
		c.Creator, c.Holder, c.Fabric = creator, keeper, &aFabric{c.Fabric.(*fakeFabric), map[uint32]Gate{}}
	})
	<-s.m.up // no change is made before
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan error)
	go func() {
		_, err := s.m.change(ctx, s.narrow(t))
		asked <- err
	}()
	<-creator.waits
	cancel()
	if err := <-asked; !errors.Is(err, context.Canceled) {
		t.Fatalf("the change: %v", err)
	}
	select {
	case <-creator.waits: // the monitor has asked by itself
	case <-time.After(wait):
		t.Error("the monitor does not ask by itself")
	}
	return s, creator, keeper
}

func (s *system) narrow(t *testing.T) *request {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	return &request{kind: event.Reloaded, running: s.m.Hash, sealed: sealed(t, narrower(t))}
}

// given is the hash of the images that the creator has been given.
func (c *slowCreator) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.given)
}

// TestGivesBack: where who asked for a change has given it up, the monitor gives the creator the policy back that is
// in force, however long that one does not answer; loading is not kept waiting by it.
func TestGivesBack(t *testing.T) {
	s, creator, keeper := tooSlow(t)
	s.m.loader.lock(asker{task: taskChange}) // not held
	s.m.loader.unlock()
	if !slices.Contains(keeper.names(), keptRenewing) {
		t.Error("the next monitor does not know that the creator may have another policy")
	}
	close(creator.quick)
	<-s.m.giving.over
	s.m.mu.Lock()
	hash := s.m.Hash
	s.m.mu.Unlock()
	creator.fakeCreator.mu.Lock()
	defer creator.fakeCreator.mu.Unlock()
	if creator.image != hash {
		t.Errorf("the creator has the image %.8q, in force is %.8q", creator.image, hash)
	}
	if slices.Contains(keeper.names(), keptRenewing) {
		t.Error("the next monitor gives it the policy in force again")
	}
}

// The next change comes before the creator has the policy in force: it is not given that afterwards.
func TestGivesBackNoMore(t *testing.T) {
	s, creator, keeper := tooSlow(t)
	r := s.narrow(t)
	if _, err := s.m.change(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	<-s.m.giving.over
	given := creator.all()
	if next := image.Hash(image.Encode(narrower(t))); given[len(given)-1] != next {
		t.Errorf("it was given %.8q, and in force is %.8q", given, next)
	}
	if slices.Contains(keeper.names(), keptRenewing) {
		t.Error("the change is kept as under way")
	}
}

// A creator that does not take it: a notice says so. That it is stopped at the end tooSlow's system shows.
func TestGivesBackInVain(t *testing.T) {
	s, creator, _ := tooSlow(t)
	creator.refuses = errors.New("it is a test")
	close(creator.quick)
	<-s.m.giving.over
	if e := s.audit.last(event.Notice); e.Text != "the creator does not take the policy back that is in force, and may have that of a change that was not made: it is a test" {
		t.Errorf("it is said: %q", e.Text)
	}
}
