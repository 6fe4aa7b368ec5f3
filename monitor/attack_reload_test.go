package monitor

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/holder/link"
	"ward/image"
	"ward/monitor/admin"
)

// busyFabric does something before the filters of a reload are prepared, and
// between the moment at which an image is in force for the monitor and their swap.
type busyFabric struct {
	Fabric
	before, meanwhile func()
}

type busySwap struct {
	Swap
	meanwhile func()
}

func (f *busyFabric) Prepare(img *image.Image, changes []Change) (Swap, error) {
	if f.before != nil {
		f.before()
	}
	s, err := f.Fabric.Prepare(img, changes)
	return &busySwap{s, f.meanwhile}, err
}

func (s *busySwap) Commit() (time.Duration, error) {
	if s.meanwhile != nil {
		s.meanwhile()
	}
	return s.Swap.Commit()
}

// A gate that is opened while a reload is under way, on a route whose filters
// are still the old ones, begins with what the new image says of new states.
func TestAttackGateInReload(t *testing.T) {
	s := changing(t)
	c, v := s.domain(client), s.domain(server)
	v.ask(abi.Control{Op: abi.OpServe, Seq: 1, Interface: "t.Echo"})
	open := func(seq uint32) uint32 {
		if got, _ := c.ask(abi.Control{Op: abi.OpOpen, Seq: seq, Interface: "t.Echo"}); got.Op != abi.OpGate {
			t.Fatalf("no gate: %+v", got)
		}
		v.read()
		return seq
	}
	open(1)
	s.m.mu.Lock()
	s.m.Fabric = &busyFabric{Fabric: s.m.Fabric, meanwhile: func() { open(2) }}
	s.m.mu.Unlock()
	withState := changed(t, func(i *image.Image) {
		i.States = []image.State{{Name: "session", Per: image.PerGate, Values: []string{"trusted", "anonymous"}, Initial: 1}}
		i.Cells = []image.Cell{{State: 0, Domain: abi.NoDomain, Word: image.GateWord, Shift: 3, Bits: 2}}
	})
	if _, err := s.ask(&admin.Change{Image: sealed(t, withState)}); err != nil {
		t.Fatal(err)
	}
	open(3)
	all, err := s.m.states()
	if err != nil || len(all) != 3 {
		t.Fatalf("%d states, %v", len(all), err)
	}
	for i, a := range all {
		if a.Value != "anonymous" {
			t.Errorf("gate %d (opened before, during, after the reload): %s=%s", i+1, a.Name, a.Value)
		}
	}
}

// The path of a socket that goes from one export to another in a reload leads
// to the other from then on.
func TestAttackSocketMoves(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: the directories of sockets must be root's")
	}
	path := filepath.Join(t.TempDir(), "socket")
	at := func(domain abi.DomainID) *image.Image {
		return changed(t, func(i *image.Image) {
			i.Domains[domain].Exports[0].Socket = path
			yes, def := image.Verdict{Allow: true}, image.Verdict{Policy: abi.NoPolicy}
			i.Routes[2].Connect, i.Routes[2].ConnectUser = yes, image.Decision{}
			i.Routes = append(i.Routes, image.Route{Client: abi.NoDomain, Server: second, Connect: yes, Lookup: def, Methods: i.Routes[0].Methods})
		})
	}
	s := startSystem(t, func(c *Config) {
		c.Image = at(server)
		c.Sealed, c.Hash = sealed(t, c.Image), image.Hash(image.Encode(c.Image))
		c.Credentials = func(*link.Conn) (Credentials, error) { return Credentials{UID: 1000, GID: 1000}, nil }
	})
	v, w := s.domain(server), s.domain(second)
	for _, d := range []*fakeDomain{v, w} {
		d.ask(abi.Control{Op: abi.OpServe, Seq: 1, Interface: "t.Echo"})
	}
	name := func() string {
		conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		b, oob := make([]byte, abi.MaxControl), make([]byte, unix.CmsgSpace(16))
		n, _, _, _, err := conn.ReadMsgUnix(b, oob)
		if err != nil {
			t.Fatal(err)
		}
		got, err := abi.ParseControl(b[:n])
		if err != nil || got.Op != abi.OpGate {
			t.Fatalf("no gate: %+v, %v", got, err)
		}
		return got.Name
	}
	if n := name(); n != "server" {
		t.Fatalf("a control: before the reload the path leads to %s", n)
	}
	if _, err := s.ask(&admin.Change{Image: sealed(t, at(second))}); err != nil {
		t.Fatal(err)
	}
	if n := name(); n != "second" {
		t.Errorf("after the reload the path leads to %s", n)
	}
}

// A domain that is started anew while a reload is prepared does not keep what
// the reload takes away: the reload is refused, as for one that runs.
func TestAttackStartInReload(t *testing.T) {
	for _, test := range []struct {
		what     string
		starts   bool
		change   func(*image.Image)
		want     string
		survives bool
	}{
		{"control: it does not start", false, func(i *image.Image) { i.Domains[client].Env = []string{"A=b"} }, "", false},
		{"control: nothing of it changes", true, func(i *image.Image) { i.Domains[second].Restart = image.RestartAlways }, "", true},
		{"it is another then", true, func(i *image.Image) { i.Domains[client].Env = []string{"A=b"} }, "client (env)", true},
		{"it may not start then", true, func(i *image.Image) { i.Domains[client].Start = image.Verdict{Policy: 1} }, "", false},
	} {
		t.Run(test.what, func(t *testing.T) {
			s := startSystem(t, func(c *Config) {
				c.RestartDelay = time.Hour
				c.Image.Domains[client].Restart = image.RestartAlways
				c.Sealed, c.Hash = sealed(t, c.Image), image.Hash(image.Encode(c.Image))
			})
			s.ends(client, exit0)
			s.until("its end", func() bool { return s.m.domains[client].again })
			s.m.mu.Lock()
			s.m.Fabric = &busyFabric{Fabric: s.m.Fabric, before: func() {
				if test.starts {
					s.m.restart(s.m.domains[client])
				}
			}}
			s.m.mu.Unlock()
			_, err := s.ask(&admin.Change{Image: sealed(t, changed(t, func(i *image.Image) {
				i.Domains[client].Restart = image.RestartAlways
				test.change(i)
			}))})
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Fatalf("%v, want %q", err, test.want)
			}
			s.m.mu.Lock()
			defer s.m.mu.Unlock()
			if runs := s.m.domains[client].state == stateRunning; runs != test.survives {
				t.Errorf("it runs: %v, want %v", runs, test.survives)
			}
		})
	}
}
