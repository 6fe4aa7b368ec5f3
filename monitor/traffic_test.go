package monitor

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/monitor/admin"
)

// gaugedFabric says what a test wants it to.
type gaugedFabric struct {
	*fakeFabric
	pending map[uint32]int
	wait    time.Duration
}

func (f *gaugedFabric) Pending(g Gate) (int, error) {
	if n, ok := f.pending[g.Index()]; ok {
		return n, nil
	}
	return 0, errors.New("closed")
}

func (f *gaugedFabric) Messages(abi.DomainID) (time.Duration, error) { return f.wait, nil }

// What waits on gates is summed up for both sides, with the gate where most does;
// what nobody counts is left out.
func TestTraffic(t *testing.T) {
	f := &gaugedFabric{pending: map[uint32]int{}}
	s := startSystem(t, func(c *Config) {
		f.fakeFabric = c.Fabric.(*fakeFabric)
		c.Fabric, c.Queues = f, UnixQueues
		c.Image.Domains[client].Quota.Messages = 100
	})
	c, srv := s.domain(client), s.domain(server)
	srv.ask(serve(1, "t.Echo"))
	var sockets []int
	for range 2 {
		got, files := c.ask(open(uint32(len(sockets)+1), "t.Echo"))
		if got.Op != abi.OpGate {
			t.Fatalf("%+v", got)
		}
		srv.read()
		sockets = append(sockets, int(files[0].Fd()))
	}
	s.m.mu.Lock()
	n := 3
	for g := range s.m.gates {
		f.pending[g.Index()] = n
		n += 4
	}
	s.m.mu.Unlock()
	f.wait = 255 * time.Millisecond
	for i, fd := range sockets {
		if err := unix.Send(fd, make([]byte, 1000*(i+1)), 0); err != nil {
			t.Fatal(err)
		}
	}
	gate := admin.Gate{Interface: "t.Echo", From: "client", To: "server"}
	got, other := s.m.traffic(client), s.m.traffic(server)
	for _, w := range []*admin.Backlog{got.Calls, other.Answers} {
		if w.All != 10 || w.Most != 7 || w.Limit != abi.Slots || w.Gate == nil || *w.Gate != gate {
			t.Errorf("calls: %+v", w)
		}
	}
	if other.Calls.All != 0 || got.Answers.All != 0 {
		t.Errorf("calls of the server %+v, to be answered by the client %+v", other.Calls, got.Answers)
	}
	if got.Messages == nil || *got.Messages != 26 || other.Messages != nil {
		t.Errorf("messages: %v, of the one without a quota %v", got.Messages, other.Messages)
	}
	room, err := unix.GetsockoptInt(sockets[0], unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []*admin.Backlog{got.Queued, other.Unread} {
		if w == nil || w.Most < 2000 || w.All < w.Most+1000 || w.Limit != uint64(room) || *w.Gate != gate {
			t.Errorf("queued: %+v, room for %d", w, room)
		}
	}
	if got.Unread.All != 0 || other.Queued.All != 0 {
		t.Errorf("not read by the client %+v, sent by the server %+v", got.Unread, other.Queued)
	}

	s.m.mu.Lock()
	s.m.Queues = func() (map[uint64]Queue, error) { return nil, errors.New("no sock_diag") }
	s.m.mu.Unlock()
	if got := s.m.traffic(client); got.Queued != nil || got.Unread != nil || got.Calls == nil {
		t.Errorf("without sock_diag: %+v", got)
	}
	if got := s.m.traffic(second + 1); got != nil {
		t.Errorf("of nobody: %+v", got)
	}
}
