package audit

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"ward/abi"
	"ward/audit/event"
	"ward/holder/link"
	"ward/image"
)

const leaf = image.FirstChild

// child says who a child is.
func (a *audited) child(id abi.DomainID, name string, number uint64) {
	e := event.New(event.Child)
	e.Domain, e.From, e.To, e.Text, e.Number = id, 0, 0, name, number
	e.List = []uint32{1, 0, uint32(id), 0, 0}
	a.send(e)
}

// aboutChild sends an event of each kind that names a child, and says what each of
// their records must name.
func (a *audited) aboutChild(id abi.DomainID, name string) (want []Record) {
	told := event.Now()
	number := uint64(1 << 40) // of another monitor
	for _, k := range []event.Kind{event.Spawned, event.Lent, event.LentEnded, event.Gate, event.Closed, event.Object, event.Quota, event.Notice, event.Ended} {
		e := event.New(k)
		told, number = told+1, number+1
		e.Endpoint, e.Time, e.Number, e.Allow = event.Once, told, number, true
		r := Record{}
		switch k {
		case event.Lent, event.LentEnded:
			e.From, e.To, r.From, r.To = 0, id, "client", name
		case event.Gate, event.Closed:
			e.From, e.To, r.From, r.To = id, 1, name, "server"
		default:
			e.Domain, r.Domain = id, name
		}
		a.send(e)
		want = append(want, r)
	}
	return want
}

// named are who the records name, but those of the end.
func named(all []Record) (names []Record) {
	for _, r := range all {
		if r.Event != EventStopped {
			names = append(names, Record{Domain: r.Domain, From: r.From, To: r.To})
		}
	}
	return names
}

func sameNames(a, b []Record) bool {
	return slices.EqualFunc(a, b, func(a, b Record) bool { return a.Domain == b.Domain && a.From == b.From && a.To == b.To })
}

// dies lets a writer write what it was told, and end.
func (a *audited) dies() {
	a.t.Helper()
	a.conn.Close()
	if err := <-a.done; err != nil {
		a.t.Fatal(err)
	}
}

// TestChildIsKnownToTheNext: a writer that takes over finds events in the channel that
// name a child, and the one that says who that is was given back by the writer before:
// the records name it. So they do if it says so again, and the roll could not be written;
// if the writer died before its lines; and if a number is a second child's. The
// controls: nobody has said it, or the roll is of another system, and no record does.
func TestChildIsKnownToTheNext(t *testing.T) {
	for name, c := range map[string]struct {
		between     func(t *testing.T, dir string)
		says, fresh bool
		second      string
		want        string
	}{
		"given back": {want: "leaf#1"},
		"before its lines": {want: "leaf#1", between: func(t *testing.T, dir string) {
			for _, err := range []error{os.Remove(filepath.Join(dir, StateFile)), os.Truncate(filepath.Join(dir, File), 0)} {
				if err != nil {
					t.Fatal(err)
				}
			}
		}},
		"a second child": {want: "leaf#9", second: "leaf#9"},
		"said again": {want: "leaf#1", says: true, between: func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, ChildrenFile)); err != nil {
				t.Fatal(err)
			}
		}},
		"control: not said": {between: func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, ChildrenFile)); err != nil {
				t.Fatal(err)
			}
		}},
		"control: half a place": {between: func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, ChildrenFile), placeSize+40); err != nil {
				t.Fatal(err)
			}
		}},
		"control: another byte": {between: func(t *testing.T, dir string) {
			f, err := os.OpenFile(filepath.Join(dir, ChildrenFile), os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteAt([]byte("x"), placeSize+4+76+5*4+1) // of the name
				f.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
		}},
		"control: of another system": {fresh: true},
		"control: a writer of an earlier version since": {between: func(t *testing.T, dir string) {
			b, end, err := openBook(dir, true, fileSize(t, filepath.Join(dir, File)))
			if err != nil {
				t.Fatal(err)
			}
			defer b.file.Close()
			h := b.head
			h.start = uint64(end)
			if err := b.turn(h); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			a := run(t)
			a.child(leaf+1, "leaf#1", 1)
			if c.second != "" {
				a.child(leaf+1, c.second, 2)
			}
			a.dies()
			if c.between != nil {
				c.between(t, a.dir)
			}
			b := runIn(t, a.dir, !c.fresh)
			if c.says { // it was not given back
				b.child(leaf+1, "leaf#1", 1)
			}
			want := b.aboutChild(leaf+1, c.want)
			if got := named(b.finish()); !sameNames(got, want) {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}

// TestChildIsKnownWithItsRing: a child that has ended while no writer was there, of
// which no monitor says anything any more, is named in the records of its messages, and of
// those that were lost; their parameters are read by its own policies.
func TestChildIsKnownWithItsRing(t *testing.T) {
	a := run(t)
	a.child(leaf, "leaf#1", 1)
	first := a.ring(7, leaf)
	sent := call(1, "one", abi.ReasonPermit)
	sent.From = leaf
	first.put(sent)
	a.dies()
	b := runIn(t, a.dir, true)
	rest := newFakeRing()
	sent = call(2, "two", abi.ReasonPermit)
	sent.From = leaf
	rest.put(sent)
	b.rings <- rest
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	e := event.New(event.RingGone)
	e.Endpoint, e.Count, e.Domain = 7, 5, leaf
	b.send(e, null)
	all := b.finish()
	if lost := find(all, EventLost); len(lost) != 1 || lost[0].From != "leaf#1" || lost[0].Lost != 3 {
		t.Errorf("%+v", lost)
	}
	calls := find(all, EventCall)
	if len(calls) != 2 {
		t.Fatalf("%+v", calls)
	}
	for i, text := range []string{"one", "two"} {
		if calls[i].From != "leaf#1" || calls[i].Params["text"] != text {
			t.Errorf("%+v", calls[i])
		}
	}
}

// TestImageIsKnownToTheNext: what a change of the policy has brought is named by a
// writer that takes over before it is told of that change, and messages that were
// judged by the new image are read by it. It does not mind being told again, and not of
// the image before. The control: a writer of another system does not know it.
func TestImageIsKnownToTheNext(t *testing.T) {
	more := system()
	third := more.Domains[0]
	third.Name = "third"
	more.Domains = append(more.Domains, third)
	r := more.Routes[0]
	r.Client = 2
	more.Routes = append(more.Routes, r)
	nobody := image.Verdict{Policy: abi.NoPolicy}
	for i := range more.Routes {
		more.Routes[i].Lookup, more.Routes[i].ConnectUser = nobody, image.Decision{}
	}
	more.Routes[1].Connect = nobody
	encoded := image.Encode(more)
	if _, err := image.Decode(encoded); err != nil {
		t.Fatal(err)
	}
	tell := func(a *audited, encoded []byte, at uint64) {
		sealed, err := link.Seal(encoded)
		if err != nil {
			t.Fatal(err)
		}
		defer sealed.Close()
		e := event.New(event.Image)
		e.Text, e.Time = image.Hash(encoded), at
		a.send(e, sealed)
	}
	for name, fresh := range map[string]bool{"the next": false, "control: of another system": true} {
		t.Run(name, func(t *testing.T) {
			a := run(t)
			in := event.Now()
			tell(a, encoded, in)
			a.dies()
			b := runIn(t, a.dir, !fresh)
			if !fresh {
				tell(b, image.Encode(system()), in-1)
			}
			e := event.New(event.Started)
			e.Domain, e.Endpoint, e.Number = 2, event.Once, 1<<40
			b.send(e)
			ring := b.ring(9, 2)
			sent := call(1, "one", abi.ReasonPermit)
			sent.From, sent.Route = 2, 2
			ring.put(sent)
			b.gone(9, 1)
			if !fresh {
				tell(b, encoded, event.Now())
			}
			all := b.finish()
			started, calls := find(all, EventStarted), find(all, EventCall)
			if len(started) != 1 || len(calls) != 1 || len(find(all, EventNotice)) > 0 {
				t.Fatalf("%+v", all)
			}
			known := started[0].Domain == "third" && calls[0].From == "third" && calls[0].Method == "t.Echo/Say" && calls[0].Params["text"] == "one"
			if known == fresh {
				t.Errorf("%+v, %+v", started[0], calls[0])
			}
		})
	}
}

// TestGuestIsKnownToTheNext: who was at a gate when something passed there is in the
// record of that, though the writer that was told of it has died: by which delegation,
// which user; of two gates with one number the one of that time. So it is if only the
// monitor tells of it, later, and the gate is open still. The controls: of another system
// nobody knows it, and of a gate that has gone only who was told of it.
func TestGuestIsKnownToTheNext(t *testing.T) {
	gate := func(k event.Kind, index uint32, at, number uint64, text string) event.Event {
		e := event.New(k)
		e.Gate, e.Allow, e.Interface, e.Time, e.Number, e.Text = index, true, 0, at, number, text
		e.From, e.To, e.List = 0, 1, []uint32{1, 0, 0, 0, 0}
		return e
	}
	user := func(k event.Kind, index uint32, at, number uint64) event.Event {
		e := gate(k, index, at, number, "ann")
		e.From, e.UID, e.List = abi.NoDomain, 1000, []uint32{0}
		return e
	}
	for name, c := range map[string]struct{ lost, fresh, known bool }{
		"given back":                 {},
		"control: of another system": {fresh: true},
		"open still":                 {lost: true, known: true},
		"control: gone":              {lost: true},
	} {
		t.Run(name, func(t *testing.T) {
			a := run(t)
			in := event.Now()
			a.send(gate(event.Gate, 5, in, 1, "by the first"))
			a.send(gate(event.Gate, 5, in+10, 2, "by the second"))
			a.send(user(event.Gate, 6, in, 3))
			a.dies()
			if c.lost {
				if err := os.Remove(filepath.Join(a.dir, GatesFile)); err != nil {
					t.Fatal(err)
				}
			}
			b := runIn(t, a.dir, !c.fresh)
			domain, outside := b.ring(0, 0), b.ring(1, abi.NoDomain)
			if c.known {
				b.send(gate(event.Known, 5, event.Now(), 1<<40, "by the second"))
				b.send(user(event.Known, 6, event.Now(), 1<<40+1))
			}
			for n := range 2 {
				sent := call(uint64(n+1), "one", abi.ReasonPermit)
				sent.Gate, sent.Time = 5, in+1+uint64(10*n)
				domain.put(sent)
			}
			sent := call(1, "three", abi.ReasonPermit)
			sent.Gate, sent.From, sent.Route, sent.Time = 6, abi.NoDomain, 1, in+20
			outside.put(sent)
			b.gone(0, 2)
			b.gone(1, 1)
			calls := find(b.finish(), EventCall)
			if len(calls) != 3 {
				t.Fatalf("%+v", calls)
			}
			got := []string{calls[0].Detail, calls[1].Detail, calls[2].From}
			want := []string{"by the first", "by the second", "user:ann"}
			switch {
			case c.known: // nobody knows of the first any more
				want[0] = "by the second"
			case c.fresh || c.lost:
				want = []string{"", "", "user:0"} // whose ring it is
			}
			if !slices.Equal(got, want) || (want[2] == "user:ann") != (calls[2].UID != nil && *calls[2].UID == 1000) {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

// Who is told of again, because the event was not given back, was there before who is
// known to be there now.
func TestGuestsStayInOrder(t *testing.T) {
	w := newTranslator(system())
	e := event.New(event.Gate)
	e.Allow, e.From, e.List = true, 0, []uint32{1, 0, 0}
	for i, at := range []uint64{10, 20, 10} {
		e.Time, e.Text = at, []string{"first", "second", "first"}[i]
		if w.enter(&e) != (i < 2) {
			t.Errorf("event %d: it is new or not", i)
		}
	}
	if g := w.guest(e.Gate, 30); g == nil || g.name != "second" {
		t.Errorf("%+v", g)
	}
}

// TestGuestsAreBounded: however many gates there were, a writer that takes over knows who
// is at the last ones, and the file does not grow.
func TestGuestsAreBounded(t *testing.T) {
	k := &known{dir: t.TempDir()}
	k.gates.path = filepath.Join(k.dir, GatesFile)
	defer k.close()
	const all = 3*maxGuests + 7
	for n := range all {
		e := event.New(event.Gate)
		e.Gate, e.Allow, e.From, e.Text = uint32(n), true, 0, "by a delegation"
		if err := k.noteGate(&e, uint64(n+1)); err != nil {
			t.Fatal(err)
		}
	}
	next := &known{gates: places{path: k.gates.path}}
	w := newTranslator(system())
	next.read(w)
	if len(w.gates) != maxGuests || w.guest(all-1, all) == nil || w.guest(all-maxGuests, all) == nil || w.guest(all-maxGuests-1, all) != nil || next.gate != all {
		t.Errorf("%d gates are known, the last is number %d", len(w.gates), next.gate)
	}
	if st, err := os.Stat(k.gates.path); err != nil || st.Size() > maxGuests*placeSize {
		t.Errorf("%v, %v", st, err)
	}
}
