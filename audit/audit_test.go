package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
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
)

// system is a small one: client may say what is not secret to server; users by route 1.
func system() *image.Image {
	when := image.Expr{Op: image.Not, Args: []image.Expr{{Op: image.Eq, Left: image.Operand{What: image.Scalar, Path: []uint32{1}},
		Right: image.Operand{Value: image.Value{IsString: true, String: "secret"}}}}}
	rules := []image.MethodPolicy{{Request: image.Decision{Permit: []image.Rule{{Policy: 0, When: when}}}}}
	yes := image.Verdict{Allow: true}
	return &image.Image{Name: "s",
		Domains: []image.Domain{{Name: "client", Ring: image.Ring{Level: 3, Name: "user"}, Start: yes},
			{Name: "server", Ring: image.Ring{Name: "service"}, Start: yes, Exports: []image.Export{{Publish: yes}}}},
		Interfaces: []image.Interface{{Name: "t.Echo", Methods: []image.Method{{Name: "Say"}}}},
		Messages:   []image.Message{{Name: "t.Text", Fields: []image.Field{{Number: 1, Name: "text", Type: image.String, MaxLen: 64}}}},
		Policies:   []image.Policy{{ID: "say"}},
		Routes:     []image.Route{{Client: 0, Server: 1, Connect: yes, Methods: rules}, {Client: abi.NoDomain, Server: 1, Connect: yes, Methods: rules}}}
}

// fakeRing is a Source that a test fills.
type fakeRing struct {
	mu      sync.Mutex
	cond    *sync.Cond
	records []abi.Record
	drained bool
}

func newFakeRing() *fakeRing {
	r := &fakeRing{}
	r.cond = sync.NewCond(&r.mu)
	return r
}

func (r *fakeRing) put(k ...abi.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records = append(r.records, k...)
	r.cond.Broadcast()
}

func (r *fakeRing) Read() (abi.Record, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.records) == 0 && !r.drained {
		r.cond.Wait()
	}
	if len(r.records) == 0 {
		return abi.Record{}, os.ErrClosed
	}
	k := r.records[0]
	r.records = r.records[1:]
	return k, nil
}

func (r *fakeRing) Drain() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drained = true
	r.cond.Broadcast()
	return nil
}

func (r *fakeRing) Close() error { return r.Drain() }

// audited is a writer under test.
type audited struct {
	t     *testing.T
	dir   string
	conn  *link.Conn
	rings chan *fakeRing
	done  chan error
}

func run(t *testing.T) *audited {
	t.Helper()
	return runIn(t, t.TempDir(), false)
}

// runIn runs a writer in a directory; again: one before it has died.
func runIn(t *testing.T, dir string, again bool) *audited {
	t.Helper()
	ours, theirs, err := link.Pair("events")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := link.New(theirs)
	if err != nil {
		t.Fatal(err)
	}
	a := &audited{t: t, dir: dir, conn: ours, rings: make(chan *fakeRing, 8), done: make(chan error, 1)}
	go func() {
		if err := conn.PeekAll(); err != nil {
			t.Error(err)
		}
		a.done <- Run(Config{Image: system(), RunDir: a.dir, Events: conn, Again: again, OpenRing: func(f *os.File) (Source, error) {
			f.Close()
			return <-a.rings, nil
		}})
	}()
	return a
}

func (a *audited) send(e event.Event, files ...*os.File) {
	a.t.Helper()
	if err := a.conn.Send(e.Encode(), time.Second, files...); err != nil {
		a.t.Fatal(err)
	}
}

// ring announces an endpoint with a ring of the test.
func (a *audited) ring(id uint32, d abi.DomainID) *fakeRing {
	a.t.Helper()
	r := newFakeRing()
	a.rings <- r
	null, err := os.Open(os.DevNull)
	if err != nil {
		a.t.Fatal(err)
	}
	defer null.Close()
	e := event.New(event.Ring)
	e.Endpoint, e.Domain = id, d
	a.send(e, null)
	return r
}

func (a *audited) gone(id uint32, total uint64) {
	e := event.New(event.RingGone)
	e.Endpoint, e.Count = id, total
	a.send(e)
}

// finish ends the writer and returns its lines.
func (a *audited) finish() []Record {
	a.t.Helper()
	a.send(event.New(event.Stopped))
	a.conn.Close()
	if err := <-a.done; err != nil {
		a.t.Fatal(err)
	}
	var all []Record
	for r, err := range Read(filepath.Join(a.dir, File), Filter{}) {
		if err != nil {
			a.t.Fatal(err)
		}
		all = append(all, r)
	}
	for i, r := range all {
		if r.Seq != uint64(i+1) {
			a.t.Errorf("line %d has number %d", i+1, r.Seq)
		}
	}
	if len(all) == 0 || all[len(all)-1].Event != EventStopped {
		a.t.Errorf("the last line is not `stopped`: %+v", all)
	}
	return all
}

func call(seq uint64, text string, r abi.Reason) abi.Record {
	return abi.Record{Time: event.Now(), Seq: seq, From: 0, To: 1, Kind: abi.KindCall, Reason: r, Detail: 0, Present: 1,
		Params: []uint64{uint64(len(text))}, Text: []byte(text)}
}

func find(all []Record, event string) []Record {
	var found []Record
	for _, r := range all {
		if r.Event == event {
			found = append(found, r)
		}
	}
	return found
}

func TestRecords(t *testing.T) {
	a := run(t)
	r := a.ring(0, 0)
	r.put(call(1, "hello", abi.ReasonPermit), call(2, "secret", abi.ReasonDefault))
	empty := call(4, "", abi.ReasonPermit)
	empty.Present = 0
	unread := call(5, "", abi.ReasonBounds) // not read to its end: the filter says nothing of parameters
	unread.Present, unread.Params = 0, nil
	r.put(empty, unread)
	reply := call(3, "", abi.ReasonPermit)
	reply.Dir, reply.Kind, reply.Params, reply.Present = abi.Reply, abi.KindReply, nil, 0
	r.put(reply)
	a.gone(0, 5)
	calls := find(a.finish(), EventCall)
	if len(calls) != 4 {
		t.Fatalf("calls: %+v", calls)
	}
	if c := calls[0]; c.From != "client" || c.To != "server" || c.Method != "t.Echo/Say" || c.Verdict != Allow || c.Policy != "say" || c.Params["text"] != "hello" || c.Reason != "" || len(c.Absent) > 0 {
		t.Errorf("allowed call: %+v", c)
	}
	if c := calls[2]; !slices.Equal(c.Absent, []string{"text"}) || len(c.Params) > 0 {
		t.Errorf("call without the parameter: %+v", c)
	}
	if c := calls[3]; len(c.Absent) > 0 || len(c.Params) > 0 {
		t.Errorf("call that was not read to its end: %+v", c)
	}
	if c := calls[1]; c.Verdict != Deny || c.Policy != "" || c.Reason != "default deny" || c.Params["text"] != "secret" {
		t.Errorf("denied call: %+v", c)
	}
}

// What the filter could not write is counted for its sender, wherever it is
// missing; numbers that come in another order are not missing.
func TestLost(t *testing.T) {
	a := run(t)
	r := a.ring(0, 0)
	r.put(call(2, "a", abi.ReasonPermit), call(1, "b", abi.ReasonPermit), call(6, "c", abi.ReasonPermit))
	quiet := a.ring(1, 1)
	quiet.put(call(1, "x", abi.ReasonPermit))
	a.gone(0, 10)
	a.gone(1, 1)
	lost := uint64(0)
	for _, l := range find(a.finish(), EventLost) {
		if l.From != "client" {
			t.Errorf("lost of another: %+v", l)
		}
		lost += l.Lost
	}
	if lost != 3+4 {
		t.Errorf("%d records are said to be lost, want 7", lost)
	}
}

// A record of a user waits for the event that says who it is, and is not
// counted as lost meanwhile.
func TestUser(t *testing.T) {
	a := run(t)
	r := a.ring(1<<16, abi.NoDomain)
	g := event.New(event.Gate)
	k := call(1, "hello", abi.ReasonPermit)
	k.From, k.Route, k.Gate = abi.NoDomain, 1, 7
	r.put(k)
	g.From, g.To, g.Interface, g.Gate, g.Allow, g.Policy, g.UID, g.Text, g.List = abi.NoDomain, 1, 0, 7, true, 0, 1000, "alice", []uint32{0}
	a.send(g)
	a.gone(1<<16, 1)
	all := a.finish()
	calls := find(all, EventCall)
	if len(calls) != 1 || calls[0].From != "user:alice" || *calls[0].UID != 1000 || calls[0].Params["text"] != "hello" {
		t.Errorf("call of a user: %+v", calls)
	}
	if lost := find(all, EventLost); len(lost) > 0 {
		t.Errorf("lost: %+v", lost)
	}
}

func TestEvents(t *testing.T) {
	a := run(t)
	s := event.New(event.Started)
	s.Domain, s.Allow, s.Policy, s.UID, s.PID, s.Ring = 0, true, 0, 70000, 42, 3
	a.send(s)
	s.Domain, s.Allow, s.Policy = 1, false, event.None
	a.send(s)
	e := event.New(event.Ended)
	e.Domain, e.Status = 0, 137
	a.send(e)
	g := event.New(event.Gate)
	g.From, g.Reason, g.Text = 0, abi.ReasonUnknownInterface, "t.None"
	a.send(g)
	all := a.finish()
	if s := find(all, EventStarted); len(s) != 2 || *s[0].UID != 70000 || *s[0].Ring != 3 || s[0].Policy != "say" || s[1].Verdict != Deny || s[1].Reason != "default deny" {
		t.Errorf("started: %+v", s)
	}
	if e := find(all, EventEnded); len(e) != 1 || *e[0].Status != 137 || e[0].Domain != "client" {
		t.Errorf("ended: %+v", e)
	}
	if g := find(all, EventGate); len(g) != 1 || g[0].Interface != "t.None" || g[0].Reason != "no domain offers this interface" || g[0].Verdict != Deny {
		t.Errorf("gate: %+v", g)
	}
}

// What a domain writes is kept, within bounds.
func TestLogs(t *testing.T) {
	a := run(t)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	e := event.New(event.Output)
	e.Domain = 0
	a.send(e, read)
	read.Close()
	line := strings.Repeat("x", 1023) + "\n"
	for range 3 * logSize / 1024 {
		if _, err := write.WriteString(line); err != nil {
			t.Fatal(err)
		}
	}
	write.WriteString("the end\n")
	write.Close()
	a.finish()
	last, err := os.ReadFile(filepath.Join(a.dir, LogDir, "client"))
	if err != nil || !bytes.HasSuffix(last, []byte("the end\n")) || len(last) > logSize {
		t.Errorf("log: %v, %d bytes", err, len(last))
	}
	if old, err := os.Stat(filepath.Join(a.dir, LogDir, "client.1")); err != nil || old.Size() > logSize {
		t.Errorf("the log before it: %v", err)
	}
	if files, _ := os.ReadDir(filepath.Join(a.dir, LogDir)); len(files) != 2 {
		t.Errorf("%d log files", len(files))
	}
}

// full is a disk that is full until it is not; it takes part of a line first.
type full struct {
	bytes.Buffer
	free int
}

func (f *full) Write(b []byte) (int, error) {
	if f.free >= len(b) {
		f.free -= len(b)
		return f.Buffer.Write(b)
	}
	n, _ := f.Buffer.Write(b[:f.free])
	f.free = 0
	return n, syscall.ENOSPC
}

func TestFullDisk(t *testing.T) {
	out := &full{free: 150}
	w := lineWriter{out: out, now: time.Now}
	for range 5 {
		w.add(Record{Event: EventNotice, Detail: "hello"})
		w.flush()
	}
	out.free = 1 << 20
	w.add(Record{Event: EventNotice, Detail: "again"})
	w.flush()
	var whole, lost uint64
	for line := range strings.Lines(out.String()) {
		var r Record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			continue // the torn one
		}
		if whole++; r.Event == EventLost {
			lost = r.Lost
		}
	}
	// Two whole lines, the loss, one after it.
	if whole != 4 || lost != 3 {
		t.Errorf("%d whole lines, %d said to be lost:\n%s", whole, lost, out)
	}
}

// Followers see lines as they come, skip what is older, and go on when a new
// file takes the place of the one they read.
func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), File)
	put := func(name string, lines ...string) {
		f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		f.WriteString(strings.Join(lines, ""))
	}
	old := `{"event":"stopped","time":"2001-01-01T00:00:00Z"}` + "\n"
	fresh := func(event, domain string) string {
		b, _ := json.Marshal(Record{Event: event, Time: time.Now(), Domain: domain})
		return string(b) + "\n"
	}
	put(path, old)
	since := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var got []string
	put(path, fresh(EventStarted, "a"))
	for r, err := range Follow(ctx, path, Filter{Since: since}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, r.Event+" "+r.Domain)
		switch len(got) {
		case 1: // half a line, then the rest
			line := fresh(EventEnded, "a")
			put(path, line[:10])
			put(path, line[10:])
		case 2:
			put(path+".new", fresh(EventStarted, "b"), fresh(EventStopped, ""))
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		}
	}
	if want := "started a,ended a,started b,stopped "; strings.Join(got, ",") != want {
		t.Errorf("followed %q, want %q", strings.Join(got, ","), want)
	}
}

func TestEventCodec(t *testing.T) {
	e := event.New(event.Gate)
	e.From, e.Reason, e.Allow, e.Ring, e.Count, e.Text, e.List = 3, abi.ReasonForbid, true, -1, 1<<40, "text", []uint32{1, 2}
	got, err := event.Decode(e.Encode())
	if err != nil || got.Text != "text" || got.From != 3 || got.Ring != -1 || got.Count != 1<<40 || len(got.List) != 2 || got.List[1] != 2 || !got.Allow {
		t.Errorf("%+v, %v", got, err)
	}
	for n := range len(e.Encode()) - len(e.Text) {
		if _, err := event.Decode(e.Encode()[:n]); err == nil {
			t.Errorf("%d bytes are a whole event", n)
		}
	}
}

func FuzzEvent(f *testing.F) {
	e := event.New(event.Gate)
	f.Add(e.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := event.Decode(b)
		if err != nil {
			return
		}
		if !bytes.Equal(e.Encode(), b) {
			t.Error("two encodings of one event")
		}
	})
}
