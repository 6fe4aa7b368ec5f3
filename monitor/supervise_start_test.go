package monitor

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ward/abi"
	"ward/audit/event"
	"ward/holder/link"
	"ward/image"
	"ward/monitor/admin"
)

// TestStartOrder: a domain is started after those that it needs, and after those
// whose interfaces it may call; the others as they are written, servers first.
func TestStartOrder(t *testing.T) {
	calls := func(from, to abi.DomainID, may image.Verdict) func(*image.Image) {
		return func(i *image.Image) {
			r := i.Routes[0]
			r.Client, r.Server, r.Connect = from, to, may
			i.Routes = append(i.Routes, r)
		}
	}
	yes, no := image.Verdict{Allow: true, Policy: 0}, image.Verdict{Policy: 1}
	for name, c := range map[string]struct {
		change func(*image.Image)
		want   []abi.DomainID
	}{
		"as written":       {func(*image.Image) {}, []abi.DomainID{server, second, client}},
		"calls":            {calls(server, second, yes), []abi.DomainID{second, server, client}},
		"may not call":     {calls(server, second, no), []abi.DomainID{server, second, client}},
		"needs":            {func(i *image.Image) { i.Domains[server].Needs = []string{"second"} }, []abi.DomainID{second, server, client}},
		"needs who serves": {func(i *image.Image) { i.Domains[second].Needs = []string{"client"} }, []abi.DomainID{server, client, second}},
		"in a circle":      {func(i *image.Image) { calls(server, second, yes)(i); calls(second, server, yes)(i) }, []abi.DomainID{second, server, client}},
	} {
		m := &Monitor{Config: Config{Image: changed(t, c.change)}}
		m.byName = map[string]*domain{}
		for i := range m.Image.Domains {
			d := newDomain(m.Image, abi.DomainID(i))
			m.domains = append(m.domains, d)
			m.byName[d.def.Name] = d
		}
		var got []abi.DomainID
		for _, d := range m.order() {
			got = append(got, d.id)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// readyCreator is a creator whose server becomes ready by what says so.
type readyCreator struct {
	*fakeCreator
	says    func(conn *link.Conn, notify *os.File) // "": never
	mu      sync.Mutex
	said    bool
	atStart bool // said, when second was started
}

func (c *readyCreator) Start(ctx context.Context, d abi.DomainID, control, output *os.File) (Process, error) {
	if d == second {
		c.mu.Lock()
		c.atStart = c.said
		c.mu.Unlock()
	}
	p, err := c.fakeCreator.Start(ctx, d, control, output)
	if d != server || err != nil || c.says == nil {
		return p, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return p, err
	}
	p.Notify = r
	c.fakeCreator.mu.Lock()
	conn := c.ends[d]
	c.fakeCreator.mu.Unlock()
	go c.says(conn, w)
	return p, nil
}

// TestNeedsAreReady: who needs another domain is started when that serves the
// interface that it exports, or says that it is ready if it is to, and not
// before; or after a bound, with a notice.
func TestNeedsAreReady(t *testing.T) {
	for name, c := range map[string]struct {
		notify bool
		limit  time.Duration
	}{"serves": {false, wait}, "says so": {true, wait}, "never": {false, time.Millisecond}} {
		t.Run(name, func(t *testing.T) {
			creator := &readyCreator{}
			dir := t.TempDir()
			speak := func(conn *link.Conn, notify *os.File) {
				for range 50 { // the monitor goes on meanwhile, and would come to the next domain
					if all, err := admin.PS(context.Background(), dir); err != nil || len(all) != 3 {
						t.Errorf("%d domains, %v", len(all), err)
					}
				}
				creator.mu.Lock()
				creator.said = true
				creator.mu.Unlock()
				if c.notify {
					notify.WriteString("READY=1")
					return
				}
				ask := serve(1, "t.Echo")
				b, err := ask.AppendTo(nil)
				if err == nil {
					err = conn.Send(b, wait)
				}
				if err != nil {
					t.Error(err)
				}
			}
			if name != "never" {
				creator.says = speak
			}
			s := startSystem(t, func(cfg *Config) {
				creator.fakeCreator = cfg.Creator.(*fakeCreator)
				cfg.Creator, cfg.RunDir, cfg.NeedWait = creator, dir, c.limit
				cfg.Image.Domains[second].Needs, cfg.Image.Domains[server].Notify = []string{"server"}, c.notify
			})
			creator.mu.Lock()
			defer creator.mu.Unlock()
			if creator.atStart != (name != "never") {
				t.Errorf("when who needs it was started, it was ready: %v", creator.atStart)
			}
			late := s.audit.last(event.Notice)
			if told := late.Domain == second && strings.Contains(late.Text, "server is not ready"); told != (name == "never") {
				t.Errorf("notice %+v", late)
			}
		})
	}
}

// patientCreator is a creator of domains some of which do not end by SIGTERM.
type patientCreator struct {
	*fakeCreator
	deaf []abi.DomainID
	mu   sync.Mutex
	sent []sentSignal
}

type sentSignal struct {
	domain abi.DomainID
	signal syscall.Signal
}

func (c *patientCreator) Signal(ctx context.Context, d abi.DomainID, sig syscall.Signal) error {
	c.mu.Lock()
	c.sent = append(c.sent, sentSignal{d, sig})
	c.mu.Unlock()
	if sig == syscall.SIGTERM && slices.Contains(c.deaf, d) {
		return nil
	}
	return c.fakeCreator.Signal(ctx, d, sig)
}

// TestGraceOfEach: all domains are asked to end, and those that have not are
// killed, each after its own time of grace.
func TestGraceOfEach(t *testing.T) {
	creator := &patientCreator{deaf: []abi.DomainID{server, second}}
	s := startSystem(t, func(c *Config) {
		creator.fakeCreator = c.Creator.(*fakeCreator)
		c.Creator, c.Grace = creator, 30*time.Millisecond
		c.Image.Domains[second].Grace = uint64(time.Millisecond)
	})
	s.m.Stop()
	<-s.status
	creator.mu.Lock()
	defer creator.mu.Unlock()
	first := map[sentSignal]int{}
	for i, got := range creator.sent {
		if _, seen := first[got]; !seen {
			first[got] = i
		}
	}
	if len(first) < 5 {
		t.Fatalf("%v", creator.sent)
	}
	for _, d := range []abi.DomainID{client, server, second} {
		if i := first[sentSignal{d, syscall.SIGTERM}]; i > 2 || creator.sent[i].signal != syscall.SIGTERM {
			t.Errorf("first come %v", creator.sent[:3])
		}
	}
	killed, later := first[sentSignal{second, syscall.SIGKILL}], first[sentSignal{server, syscall.SIGKILL}]
	if killed < 3 || later <= killed {
		t.Errorf("of %v, second, with less grace, is killed at %d, and server at %d", creator.sent, killed, later)
	}
}

// TestBackoff: the time before a restart doubles up to its limit; the name
// server's first restart is at once.
func TestBackoff(t *testing.T) {
	m := &Monitor{}
	d := &domain{def: &image.Domain{}}
	want := restartDelay
	for row := range 2 * restartLimit {
		d.row = row
		if got := m.delay(d); got != min(want, restartMax) {
			t.Errorf("after %d ends in a row: %v, want %v", row+1, got, min(want, restartMax))
		}
		want = min(2*want, restartMax)
	}
	names := &domain{def: &image.Domain{Names: true}}
	for row, want := range []time.Duration{0, namesDelay, 2 * namesDelay, 4 * namesDelay} {
		names.row = row
		if got := m.delay(names); got != want {
			t.Errorf("the name server after %d ends in a row: %v, want %v", row+1, got, want)
		}
	}
}
