package monitor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"ward/abi"
	"ward/audit/event"
	"ward/image"
	"ward/monitor/admin"
)

// fallen is the system whose monitor dies in the middle of a change that the next one
// cannot make again. Its client has a gate to the server, which the change closes, and
// the second and a third domain have one each, of which the change gives the second's other filters.
type fallen struct {
	*system
	keeper        *aKeeper
	span          *span // of the first monitor
	cfg           Config
	before, after *image.Image
}

const third abi.DomainID = 3

// Routes of the second and the third domain.
const (
	ofSecond = 3
	ofThird  = 4
)

// changeover are two policies.
func changeover(t *testing.T) (before, after *image.Image) {
	route := func(i *image.Image) {
		another := i.Domains[client]
		another.Name = "third"
		i.Domains = append(i.Domains, another)
		for _, who := range []abi.DomainID{second, third} {
			r := i.Routes[0]
			r.Client = who
			i.Routes = append(i.Routes, r)
		}
	}
	before = changed(t, route)
	after = changed(t, func(i *image.Image) {
		route(i)
		i.Routes[0].Connect = image.Verdict{Policy: 1}
		i.Routes[ofSecond].Methods = []image.MethodPolicy{{Request: image.Decision{Permit: []image.Rule{{Policy: 0, When: image.Expr{Op: image.Not, Args: []image.Expr{{Op: image.True}}}}}}}}
	})
	return before, after
}

// fall lets the monitor die when the kernel has the change, and all is kept but the image.
func fall(t *testing.T) *fallen {
	return fallWhen(t, func(s *span, name string) bool {
		if name == "put "+keptImage {
			s.set(0)
		}
		return !s.lasts()
	})
}

// fallWhen lets it die before one of its messages to the holder.
func fallWhen(t *testing.T, dies func(s *span, name string) bool) *fallen {
	f := &fallen{keeper: &aKeeper{}, span: &span{left: -1}}
	f.before, f.after = changeover(t)
	f.system = startSystem(t, func(c *Config) {
		c.Image = f.before
		c.Sealed, c.Hash = sealed(t, f.before), image.Hash(image.Encode(f.before))
		f.keeper.fakeHolder = c.Holder.(fakeHolder)
		c.Holder, c.Fabric = f.keeper, &aFabric{c.Fabric.(*fakeFabric), map[uint32]Gate{}}
		c.Audit = mortalAudit{c.Audit.(*fakeAudit), f.span}
		if again, err := dup(c.Sealed); err == nil { // the monitor closes its own
			c.Sealed = again
		}
		f.cfg = *c
	})
	f.system.img, f.cfg.Sealed = f.before, nil
	v := f.domain(server)
	v.ask(serve(1, "t.Echo"))
	for _, id := range []abi.DomainID{client, second, third} {
		if got, _ := f.domain(id).ask(open(1, "t.Echo")); got.Op != abi.OpGate {
			t.Fatalf("no gate: %+v", got)
		}
	}
	f.keeper.diesBefore(func(name string) bool { return dies(f.span, name) })
	if _, err := f.ask(&admin.Change{Image: sealed(t, f.after)}); err != nil {
		t.Fatal(err)
	}
	if kept := f.keeper.names(); !slices.Contains(kept, keptNext) || slices.Contains(kept, keptImage) {
		t.Fatalf("it does not die in between: %q", kept)
	}
	f.fabric.refuse(f.after)
	return f
}

// refuse makes the kernel have no room for the programs of an image.
func (f *fakeFabric) refuse(what *image.Image) {
	f.mu.Lock()
	defer f.mu.Unlock()
	hash := image.Hash(image.Encode(what))
	f.refuses = func(img *image.Image, all []Change) error {
		if len(all) > 0 && image.Hash(image.Encode(img)) == hash {
			return errors.New("it is a test")
		}
		return nil
	}
}

// wantBefore reports what is not as the policy before has it.
func (f *fallen) wantBefore(h *heir) {
	t := f.t
	t.Helper()
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if h.m.Hash != image.Hash(image.Encode(f.before)) || h.m.stopping {
		t.Errorf("the image in force is %.8s; stopping: %v", h.m.Hash, h.m.stopping)
	}
	for i, r := range h.m.loaded {
		if r := r.(*fakeRoute); r.img == nil || image.Hash(image.Encode(r.img)) != h.m.Hash || r.dead {
			t.Errorf("route %d has another policy, or none: %+v", i, r.dead)
		}
	}
	if h.m.loaded[0] != nil || h.m.loaded[ofSecond] == nil || h.m.loaded[ofThird] == nil {
		t.Errorf("loaded: %v", h.m.loaded)
	}
	for g := range h.m.gates {
		if open := g.loaded == h.m.loaded[g.route]; open != (g.client.id != client) {
			t.Errorf("the gate of domain %d is open: %v", g.client.id, open)
		}
	}
	h.creator.mu.Lock()
	defer h.creator.mu.Unlock()
	if h.creator.image != h.m.Hash {
		t.Errorf("the creator has the image %.8q", h.creator.image)
	}
	h.wants("falls back", h.count(event.Notice, func(e *event.Event) bool {
		return strings.Contains(e.Text, "cannot be completed, so the policy before it stays in force")
	}), 1)
	h.wants("reloaded", h.count(event.Reloaded, nil), 0)
	h.wants("closed", h.count(event.Closed, nil), 1)
}

// wantGoesOn opens the gate that the change had closed, and makes another change.
func (f *fallen) wantGoesOn(h *heir) {
	t := f.t
	t.Helper()
	h.m.mu.Lock()
	h.m.domains[server].serving[0] = true // it publishes again when it is told of the new monitor
	c := h.m.domains[client]
	h.m.request(&opening{client: c, seq: 9, iface: 0, server: "server"})
	h.m.mu.Unlock()
	h.until("a gate", func() bool {
		for g := range h.m.gates {
			if g.client == c && !g.loaded.(*fakeRoute).dead {
				return true
			}
		}
		return false
	})
	f.fabric.mu.Lock()
	f.fabric.refuses = nil
	f.fabric.mu.Unlock()
	if _, err := h.m.change(t.Context(), &request{kind: event.Reloaded, running: image.Hash(image.Encode(f.before)), sealed: sealed(t, f.after)}); err != nil {
		t.Error(err)
	}
}

// TestFallsBack: a monitor that cannot make a change again goes on with the policy before it.
func TestFallsBack(t *testing.T) {
	f := fall(t)
	h := f.inherit(f.keeper, f.cfg)
	f.wantBefore(h)
	for _, name := range h.m.keeper.(*aKeeper).names() {
		if slices.Contains([]string{keptFellBack, keptNext, keptRenewing}, name) {
			t.Errorf("%q is kept still", name)
		}
	}
	if e := h.audit.last(event.Image); e.Text != image.Hash(image.Encode(f.before)) {
		t.Errorf("the audit writer has the image %.8s", e.Text)
	}
	f.wantGoesOn(h)
}

// TestFallsBackEarly: nothing is kept yet of what the change closes, and the kernel may have closed
// it or not. A monitor that takes the change back closes it in the kernel, and nothing else.
func TestFallsBackEarly(t *testing.T) {
	f := fallWhen(t, func(s *span, name string) bool {
		dead := !s.lasts()
		if name == "put "+keptNext {
			s.set(0)
		}
		return dead
	})
	h := f.inherit(f.keeper, f.cfg)
	f.wantBefore(h)
	h.m.mu.Lock()
	if len(h.m.gates) != 3 {
		t.Errorf("%d gates, want 3", len(h.m.gates))
	}
	for g := range h.m.gates {
		if dead := g.loaded.(*fakeRoute).dead; dead != (g.client.id == client) {
			t.Errorf("the gate of domain %d is closed in the kernel: %v", g.client.id, dead)
		}
	}
	h.m.mu.Unlock()
	f.wantGoesOn(h)
}

// Before whichever of its messages the monitor that falls back dies, the next one comes to the same end.
func TestDiesFallingBack(t *testing.T) {
	for n, died := 0, true; died; n++ {
		died = false // also if it is not run (-failfast)
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			f := fall(t)
			span, keeper := &span{left: -1}, &aKeeper{}
			f.keeper.mu.Lock()
			for _, e := range f.keeper.kept {
				if err := keeper.Put(e.Name, e.Value, e.Files...); err != nil {
					t.Fatal(err)
				}
			}
			f.keeper.mu.Unlock()
			keeper.dies = func(string) bool { return !span.lasts() }
			span.left = n
			h := f.inheritOf(f.keeper, f.cfg, func(c *Config) {
				keeper.fakeHolder = c.Holder.(*aKeeper).fakeHolder
				c.Holder, c.Audit = keeper, mortalAudit{f.audit, span}
			})
			span.mu.Lock()
			died = span.dead
			span.dead = true
			span.mu.Unlock()
			h.system.m.Stop()
			next := f.inherit(keeper, f.cfg)
			next.m.mu.Lock()
			next.creator.mu.Lock()
			if next.creator.image == "" { // it had come to the end
				next.creator.image = next.m.Hash
			}
			next.creator.mu.Unlock()
			next.m.mu.Unlock()
			next.wants("falls back", next.count(event.Notice, func(e *event.Event) bool { return strings.Contains(e.Text, "stays in force") }), 1)
			f.wantGoesOn(next)
		})
	}
}

// What cannot get the programs of the policy before is closed; all, if there is room for
// one and not for all. The rest goes on.
func TestFallsBackInPart(t *testing.T) {
	without := func(number uint32) func([]Change, int) bool {
		return func(alive []Change, _ int) bool {
			return slices.ContainsFunc(alive, func(c Change) bool { return c.Number == number })
		}
	}
	for name, c := range map[string]struct {
		refuses func(alive []Change, n int) bool // what is asked for the nth time
		loaded  []uint32                         // routes
	}{
		"the second's": {without(ofSecond), []uint32{ofThird}},
		"the third's":  {without(ofThird), []uint32{ofSecond}},
		"all at once":  {func(alive []Change, n int) bool { return len(alive) > 0 && (n == 1 || n == 4) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := fall(t)
			f.fabric.mu.Lock()
			whole, n := f.fabric.refuses, 0
			f.fabric.refuses = func(img *image.Image, all []Change) error {
				if err := whole(img, all); err != nil {
					return err
				}
				n++
				alive := slices.DeleteFunc(slices.Clone(all), func(c Change) bool { return c.Dies })
				if c.refuses(alive, n) {
					return errors.New("there is no room")
				}
				return nil
			}
			f.fabric.mu.Unlock()
			h := f.inherit(f.keeper, f.cfg)
			h.m.mu.Lock()
			defer h.m.mu.Unlock()
			for _, route := range []uint32{ofSecond, ofThird} {
				r, want := h.m.loaded[route], slices.Contains(c.loaded, route)
				if (r != nil) != want || want && r.(*fakeRoute).dead {
					t.Errorf("route %d: loaded %v, want %v", route, r != nil, want)
				}
			}
			if h.m.Hash != image.Hash(image.Encode(f.before)) {
				t.Errorf("the image in force is %.8s", h.m.Hash)
			}
		})
	}
}

// If it is not known what the change would have closed, all is.
func TestFallsBackBlindly(t *testing.T) {
	f := fall(t)
	h := f.inheritOf(f.keeper, f.cfg, func(c *Config) { c.Next = sealed(t, &image.Image{Name: "another"}) })
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if len(h.m.loaded) != 0 || h.m.Hash != image.Hash(image.Encode(f.before)) {
		t.Errorf("loaded: %v", h.m.loaded)
	}
}

// If the policy before cannot be enforced either, by the kernel or the creator, the
// system stops. The control is TestFallsBack.
func TestCannotFallBack(t *testing.T) {
	for name, spoil := range map[string]func(*fallen, *Config){
		"kernel":  func(f *fallen, _ *Config) { f.fabric.prepare = errors.New("the kernel takes nothing") },
		"creator": func(_ *fallen, c *Config) { c.Creator.(*fakeCreator).stubborn = errors.New("it takes nothing") },
	} {
		t.Run(name, func(t *testing.T) {
			f := fall(t)
			h := f.inheritOf(f.keeper, f.cfg, func(c *Config) { spoil(f, c) })
			<-h.m.redone // the system stops before
			select {
			case <-h.m.stop:
			default:
				t.Error("the system goes on")
			}
			h.wants("stops", h.count(event.Notice, func(e *event.Event) bool {
				return strings.Contains(e.Text, "takes nothing") && strings.Contains(e.Text, "so the system stops")
			}), 1)
		})
	}
}
