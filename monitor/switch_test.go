package monitor

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ward/abi"
	"ward/audit/event"
	"ward/holder/link"
	"ward/image"
	"ward/monitor/admin"
)

// sealed is an image as it comes to the monitor.
func sealed(t *testing.T, img *image.Image) *os.File {
	t.Helper()
	f, err := link.Seal(image.Encode(img))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// changing is a system that can be changed.
func changing(t *testing.T) *system {
	return changingWith(t, func(*Config) {})
}

func changingWith(t *testing.T, change func(*Config)) *system {
	return startSystem(t, func(c *Config) {
		f, err := link.Seal(image.Encode(c.Image))
		if err != nil {
			t.Fatal(err)
		}
		c.Sealed, c.Hash = f, image.Hash(image.Encode(c.Image))
		change(c)
	})
}

func (s *system) ask(c *admin.Change) (*admin.Changed, error) {
	s.m.mu.Lock()
	if c.Running == "" {
		c.Running = s.m.Hash
	}
	dir := s.m.RunDir
	s.m.mu.Unlock()
	c.Kind = admin.Reload
	return c.Ask(context.Background(), dir)
}

func narrower(t *testing.T) *image.Image {
	return changed(t, func(i *image.Image) { i.Routes[0].Connect = image.Verdict{Policy: 1} })
}

func TestChangeClosesGate(t *testing.T) {
	s := changing(t)
	c, v := s.domain(client), s.domain(server)
	v.ask(abi.Control{Op: abi.OpServe, Seq: 1, Interface: "t.Echo"})
	if got, _ := c.ask(abi.Control{Op: abi.OpOpen, Seq: 1, Interface: "t.Echo"}); got.Op != abi.OpGate {
		t.Fatalf("no gate: %+v", got)
	}
	offer, _ := v.read()
	done, err := s.ask(&admin.Change{Image: sealed(t, narrower(t))})
	if err != nil {
		t.Fatal(err)
	}
	if len(done.Closed) != 1 || done.Closed[0].Policy != "no" || done.Gates != 0 {
		t.Errorf("%+v", done)
	}
	for _, d := range []*fakeDomain{c, v} {
		if told, _ := d.read(); told.Op != abi.OpRevoked || told.Reason != abi.ReasonForbid || told.Text != "no" || d == v && told.Block != offer.Block {
			t.Errorf("told: %+v", told)
		}
	}
	if got, _ := c.ask(abi.Control{Op: abi.OpOpen, Seq: 2, Interface: "t.Echo"}); got.Op != abi.OpRefused || got.Reason != abi.ReasonForbid {
		t.Errorf("another gate: %+v", got)
	}
	if e := s.audit.last(event.Reloaded); e.Count != 1 || e.Text != done.Hash {
		t.Errorf("record: %+v", e)
	}
	if e := s.audit.last(event.Closed); e.From != client || e.To != server || e.Policy != 1 {
		t.Errorf("record of the gate: %+v", e)
	}
}

// A change that fails anywhere changes nothing.
func TestChangeFails(t *testing.T) {
	for _, test := range []struct {
		what string
		set  func(*system, *admin.Change)
		want string
	}{
		{"programs", func(s *system, _ *admin.Change) {
			s.fabric.mu.Lock()
			s.fabric.prepare = errors.New("the verifier refuses")
			s.fabric.mu.Unlock()
		}, "the verifier refuses"},
		{"creator", func(s *system, _ *admin.Change) {
			s.creator.mu.Lock()
			s.creator.stubborn = errors.New("the creator refuses")
			s.creator.mu.Unlock()
		}, "the creator refuses"},
		{"made from another image", func(_ *system, c *admin.Change) { c.Running = strings.Repeat("00", 32) }, "somebody else"},
		{"other numbers", func(_ *system, c *admin.Change) {
			c.Image = sealed(t, changed(t, func(i *image.Image) { i.Domains[client].Name = "renamed" }))
		}, "the numbers of the running one"},
		{"a domain that runs", func(_ *system, c *admin.Change) {
			c.Image = sealed(t, changed(t, func(i *image.Image) { i.Domains[client].Args = []string{"x"} }))
		}, "client (args)"},
		{"a socket where there is none", func(_ *system, c *admin.Change) {
			c.Image = sealed(t, changed(t, func(i *image.Image) { i.Domains[server].Exports[0].Socket = "/dev/null/socket" }))
		}, "socket of server"},
		{"not sealed", func(_ *system, c *admin.Change) {
			f, err := os.Create(filepath.Join(t.TempDir(), "image"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			f.Write(image.Encode(narrower(t)))
			c.Image = f
		}, "not a sealed memfd"},
	} {
		t.Run(test.what, func(t *testing.T) {
			s := changing(t)
			c, v := s.domain(client), s.domain(server)
			v.ask(abi.Control{Op: abi.OpServe, Seq: 1, Interface: "t.Echo"})
			c.ask(abi.Control{Op: abi.OpOpen, Seq: 1, Interface: "t.Echo"})
			v.read()
			change := &admin.Change{Image: sealed(t, narrower(t))}
			test.set(s, change)
			if _, err := s.ask(change); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("%v, want %q", err, test.want)
			}
			now, err := admin.Image(context.Background(), s.m.RunDir)
			if err != nil || !bytes.Equal(now, image.Encode(testImage())) {
				t.Errorf("the image is another: %v", err)
			}
			if got, _ := c.ask(abi.Control{Op: abi.OpOpen, Seq: 2, Interface: "t.Echo"}); got.Op != abi.OpGate {
				t.Errorf("another gate: %+v", got)
			}
			if s.fabric.get(&s.fabric.swaps) != 0 || s.audit.last(event.Reloaded).Kind != 0 || s.audit.last(event.Image).Kind != 0 {
				t.Error("something was swapped or recorded")
			}
		})
	}
	t.Run("control", func(t *testing.T) {
		s := changing(t)
		if _, err := s.ask(&admin.Change{Image: sealed(t, narrower(t)), DryRun: true}); err != nil || s.fabric.get(&s.fabric.swaps) != 0 {
			t.Errorf("a dry run: %v", err)
		}
		if _, err := s.ask(&admin.Change{Image: sealed(t, narrower(t))}); err != nil || s.fabric.get(&s.fabric.swaps) != 1 {
			t.Errorf("nothing is wrong: %v", err)
		}
	})
}
