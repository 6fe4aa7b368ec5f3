package monitor

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ward/abi"
	"ward/image"
)

const (
	nameServer abi.DomainID = 3
	namesIface              = 2 // its interface
	namesRoute              = 3 // of server to it
)

// withNames adds a name server at which server publishes.
func withNames(i *image.Image) {
	yes := image.Verdict{Allow: true, Policy: 0}
	i.Interfaces = append(i.Interfaces, image.Interface{Name: namesInterface, Methods: []image.Method{{Name: "Publish"}}})
	i.Domains = append(i.Domains, image.Domain{Name: "names", Program: "/bin/names", Names: true, Ring: i.Domains[0].Ring, Start: yes,
		Exports: []image.Export{{Interface: namesIface, Publish: yes}}})
	i.Routes = append(i.Routes, image.Route{Client: server, Server: nameServer, Interface: namesIface, Connect: yes, Lookup: yes, Methods: i.Routes[0].Methods})
}

// A boundEndpoint knows its cgroup; until it is told that, no sender is in it.
type boundEndpoint struct {
	*fakeEndpoint
	mu     sync.Mutex
	cgroup uint64
}

func (e *boundEndpoint) Bind(cgroup uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cgroup = cgroup
}

func (e *boundEndpoint) is() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.cgroup
}

// bindingFabric makes such endpoints, and says which loads and gates there were.
type bindingFabric struct {
	keepingFabric
	loaded chan Endpoint // the server's, of each route that is loaded
	opened chan uint64   // its cgroup by then, of each gate
}

type boundRoute struct {
	Route
	server *boundEndpoint
}

func (f *bindingFabric) Endpoint(d abi.DomainID, cgroup uint64, blocks uint32, ring int) (Endpoint, error) {
	e, err := f.fakeFabric.Endpoint(d, cgroup, blocks, ring)
	if err != nil {
		return nil, err
	}
	return &boundEndpoint{fakeEndpoint: e.(*fakeEndpoint), cgroup: cgroup}, nil
}

func (f *bindingFabric) Load(img *image.Image, route uint32, atoms Atoms, client, server Endpoint) (Route, error) {
	r, err := f.fakeFabric.Load(img, route, atoms, client, server)
	f.loaded <- server
	return &boundRoute{r, server.(*boundEndpoint)}, err
}

func (f *bindingFabric) Open(r Route) (Gate, error) {
	f.opened <- r.(*boundRoute).server.is()
	return f.fakeFabric.Open(r.(*boundRoute).Route)
}

// heldCreator makes no process of the name server before it is let.
type heldCreator struct {
	*fakeCreator
	mu   sync.Mutex
	held chan error // nil: it is not held; a value lets one start go on, or fail
}

func (c *heldCreator) hold() chan error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = make(chan error)
	return c.held
}

func (c *heldCreator) Start(ctx context.Context, d abi.DomainID, control, output *os.File) (Process, error) {
	c.mu.Lock()
	held := c.held
	c.mu.Unlock()
	if d == nameServer && held != nil {
		if err := <-held; err != nil {
			return Process{}, err
		}
	}
	p, err := c.fakeCreator.Start(ctx, d, control, output)
	p.Cgroup = 40 + uint64(d)
	return p, err
}

// hastening is a system in which server has published at a name server, which then is
// killed, and whose next start is held.
func hastening(t *testing.T) (s *system, fabric *bindingFabric, publisher *fakeDomain, held chan error) {
	creator, holder := &heldCreator{}, &keepingHolder{}
	fabric = &bindingFabric{loaded: make(chan Endpoint, 16), opened: make(chan uint64, 16)}
	s = startSystem(t, func(c *Config) {
		withNames(c.Image)
		creator.fakeCreator, fabric.fakeFabric, holder.fakeHolder = c.Creator.(*fakeCreator), c.Fabric.(*fakeFabric), c.Holder.(fakeHolder)
		c.Creator, c.Fabric, c.Holder = creator, fabric, holder
	})
	publisher = s.domain(server)
	names := s.domain(nameServer)
	names.ask(serve(1, namesInterface))
	publisher.ask(serve(1, "t.Echo"))
	if got, _ := publisher.ask(open(2, namesInterface)); got.Op != abi.OpGate {
		t.Fatalf("no gate to the name server: %+v", got)
	}
	<-fabric.loaded
	if got := <-fabric.opened; got != 40+uint64(nameServer) {
		t.Fatalf("a gate of an endpoint that is bound to %d", got)
	}
	held = creator.hold()
	s.ends(nameServer, syscall.WaitStatus(syscall.SIGKILL))
	return s, fabric, publisher, held
}

// Before the new name server's process is there, who publishes is told and asks,
// and its route is loaded. It has its gate when the name server serves, bound to
// the new process, and is not told once more.
func TestNamesHastened(t *testing.T) {
	s, fabric, publisher, held := hastening(t)
	if got, _ := publisher.read(); got.Op != abi.OpRenewed {
		t.Fatalf("the publisher is told %+v", got)
	}
	early := (<-fabric.loaded).(*boundEndpoint)
	if got := early.is(); got != NoCgroup {
		t.Errorf("before there is a process its endpoint is bound to %d", got)
	}
	publisher.send(open(3, namesInterface))
	s.until("the request waits", func() bool { return len(s.m.pending) == 1 })
	held <- nil
	s.starts(nameServer, 2)
	names := s.domain(nameServer)
	names.send(serve(1, namesInterface))
	if got, _ := publisher.read(); got.Op != abi.OpGate || got.Seq != 3 {
		t.Fatalf("the publisher is told %+v", got)
	}
	if got := <-fabric.opened; got != 40+uint64(nameServer) {
		t.Errorf("a gate of an endpoint that is bound to %d", got)
	}
	if n := fabric.get(&fabric.loads); n != 2 {
		t.Errorf("%d routes were loaded, want one for each name server", n)
	}
	// A monitor that takes over finds the process before the route to it.
	s.m.mu.Lock()
	life := key(keptLife, s.m.domains[nameServer].ringID)
	s.m.mu.Unlock()
	holder := s.m.Holder.(*keepingHolder)
	holder.mu.Lock()
	lives, routes := 0, 0
	for _, said := range holder.said {
		switch {
		case strings.HasPrefix(said, "put "+life+" "):
			lives++ // that it starts, then that it runs
		case strings.HasPrefix(said, "put "+keptRoute) && lives > 0:
			if routes++; lives < 2 {
				t.Errorf("kept before the process runs: %s", said)
			}
		}
	}
	holder.mu.Unlock()
	if lives < 2 || routes != 1 {
		t.Errorf("%d lives and %d routes were kept", lives, routes)
	}
	// What comes next is the answer to the next question, and no second renewal.
	if got, _ := publisher.ask(open(4, "t.None")); got.Op != abi.OpRefused {
		t.Errorf("the publisher is told %+v", got)
	}
}

// early returns what reports whether the endpoint is closed that was made for the
// name server, whose process is not there yet.
func (s *system) early() (gone func() bool) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	made := s.m.domains[nameServer].early.endpoint.(*boundEndpoint).file
	return func() bool {
		_, err := made.Stat()
		return errors.Is(err, os.ErrClosed)
	}
}

// A start that fails leaves nothing of what was made before it, and who asked
// waits for the next one.
func TestHastenedInVain(t *testing.T) {
	s, fabric, publisher, held := hastening(t)
	publisher.read()
	<-fabric.loaded
	publisher.send(open(3, namesInterface))
	s.until("the request waits", func() bool { return len(s.m.pending) == 1 })
	gone := s.early()
	held <- errors.New("no process")
	<-fabric.loaded // of the next start, which comes when this one's has been given up
	held <- nil
	s.starts(nameServer, 2)
	s.domain(nameServer).send(serve(1, namesInterface))
	for got, _ := publisher.read(); got.Op != abi.OpGate; got, _ = publisher.read() {
		if got.Op != abi.OpRenewed {
			t.Fatalf("the publisher is told %+v", got)
		}
	}
	s.until("what the start that failed had", gone)
}

// What is made for a name server goes again if a change of the policy forbids its
// start meanwhile.
func TestHastenedRefused(t *testing.T) {
	s, fabric, publisher, held := hastening(t)
	publisher.read()
	<-fabric.loaded
	gone := s.early()
	s.m.mu.Lock()
	d := s.m.domains[nameServer]
	d.state = stateRefused // as startDomain leaves it
	s.m.hastened(d)
	s.m.mu.Unlock()
	s.until("what was made has gone", func() bool { return d.endpoint == nil && gone() })
	s.m.mu.Lock()
	d.early, d.state = early{}, stateEnded
	s.m.mu.Unlock()
	held <- errors.New("no process")
	<-fabric.loaded // of the next start
	held <- nil
	s.starts(nameServer, 2)
}

// A name server that ends again and again is told of when it serves, as one whose
// start takes long is once more.
func TestToldWhenItServes(t *testing.T) {
	s := startSystem(t, func(c *Config) { withNames(c.Image) })
	publisher := s.domain(server)
	for what, early := range map[string]early{"not told": {}, "told long ago": {told: time.Now().Add(-openWait)}} {
		s.m.mu.Lock()
		d := s.m.domains[nameServer]
		d.restarts, d.early = 1, early
		s.m.answerServe(d, &abi.Control{Op: abi.OpServe, Seq: 1, Interface: namesInterface})
		s.m.mu.Unlock()
		if got, _ := publisher.read(); got.Op != abi.OpRenewed {
			t.Errorf("%s: %+v", what, got)
		}
	}
}

// The first restart of a name server comes at once; in a row they come later and
// later, as those of any domain.
func TestDelays(t *testing.T) {
	m := &Monitor{}
	for _, test := range []struct {
		names bool
		row   int
		want  time.Duration
	}{
		{true, 0, 0}, {true, 1, namesDelay}, {true, 2, 2 * namesDelay}, {true, restartLimit, restartMax},
		{false, 0, restartDelay}, {false, 1, 2 * restartDelay}, {false, restartLimit, restartMax},
	} {
		d := &domain{def: &image.Domain{Names: test.names}, life: life{row: test.row}}
		if got := m.delay(d); got != test.want {
			t.Errorf("names %v, restart %d in a row: %v, want %v", test.names, test.row, got, test.want)
		}
	}
}
