package monitor

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/holder/link"
	"ward/image"
)

// A user's gate that is made while the policy changes is one of the new policy, or
// none; so is one whose route was loaded just before.
func TestUserWhileMade(t *testing.T) {
	for _, test := range []struct {
		what   string
		change func(*image.Image) // nil: the user leaves
		gate   bool
	}{
		{"control: nothing", func(*image.Image) {}, true},
		{"another policy", func(i *image.Image) {
			i.Routes[2].Methods = []image.MethodPolicy{{Request: image.Decision{Permit: []image.Rule{{Policy: 0, When: image.Expr{Op: image.True}}}, Forbid: []image.Rule{{Policy: 1, When: image.Expr{Op: image.True}}}}}}
		}, true},
		{"forbidden", func(i *image.Image) { i.Routes[2].ConnectUser = image.Decision{} }, false},
		{"the user leaves", nil, false},
	} {
		t.Run(test.what, func(t *testing.T) {
			s, f, path, connect := outsiders(t)
			h := f.hold(&f.gate)
			conn := connect()
			<-h.begun
			if test.change == nil {
				conn.Close()
				s.until("it has left", func() bool {
					for u := range s.m.outside.users {
						return u.gone
					}
					return false
				})
				h.let <- nil
				s.settles()
				s.until("nothing is left", func() bool { return len(s.m.outside.users) == 0 && s.m.outside.all == 0 })
				return
			}
			s.changes(func(i *image.Image) {
				i.Domains[server].Exports[0].Socket = path
				test.change(i)
			})
			h.let <- nil
			if got := answered(t, conn); (got.Op == abi.OpGate) != test.gate {
				t.Errorf("answer: %+v", got)
			}
			s.settles()
			s.inForce()
		})
	}
}

// outsiders is makingSystem with a socket for user 1000, and who connects there.
func outsiders(t *testing.T) (s *system, f *heldFabric, path string, connect func() *net.UnixConn) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: the directories of sockets must be root's")
	}
	path = filepath.Join(t.TempDir(), "socket")
	s, f, _, _, _ = makingSystem(t, func(cfg *Config) {
		cfg.Image.Domains[server].Exports[0].Socket = path
		cfg.Credentials = func(*link.Conn) (Credentials, error) { return Credentials{UID: 1000, GID: 1000}, nil }
	})
	return s, f, path, func() *net.UnixConn {
		t.Helper()
		conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
}

// answered is what a user is answered.
func answered(t *testing.T, conn *net.UnixConn) *abi.Control {
	t.Helper()
	b, oob := make([]byte, abi.MaxControl), make([]byte, unix.CmsgSpace(16))
	conn.SetReadDeadline(time.Now().Add(wait))
	n, _, _, _, err := conn.ReadMsgUnix(b, oob)
	if err != nil {
		t.Fatal(err)
	}
	got, err := abi.ParseControl(b[:n])
	if err != nil {
		t.Fatal(err)
	}
	return &got
}

// A user whose route was loaded, and who waits for the turn of its gate while the
// policy changes, has a gate of the new policy.
func TestUserInLine(t *testing.T) {
	s, f, path, connect := outsiders(t)
	h, users := inLine(s, f, connect)
	s.changes(func(i *image.Image) {
		i.Domains[server].Exports[0].Socket = path
		i.Routes[2].Methods = []image.MethodPolicy{{Request: image.Decision{Permit: []image.Rule{{Policy: 0, When: image.Expr{Op: image.True}}}, Forbid: []image.Rule{{Policy: 1, When: image.Expr{Op: image.True}}}}}}
	})
	h.let <- nil
	for _, conn := range users {
		if got := answered(t, conn); got.Op != abi.OpGate {
			t.Errorf("answer: %+v", got)
		}
	}
	s.settles()
	s.inForce()
}

// A user's gate that is made while its server is started again is one to the new process.
func TestUserServerAgain(t *testing.T) {
	s, f, _, connect := outsiders(t)
	h := f.hold(&f.gate)
	conn := connect()
	<-h.begun
	s.ends(server, exit0)
	s.starts(server, 2)
	s.domain(server).ok(serve(1, "t.Echo"))
	h.let <- nil
	if got := answered(t, conn); got.Op != abi.OpGate {
		t.Fatalf("answer: %+v", got)
	}
	s.settles()
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	for g := range s.m.gates {
		if g.user != nil && f.ends[g.loaded][1] != s.m.domains[server].endpoint {
			t.Error("the gate leads to the process before")
		}
	}
}
