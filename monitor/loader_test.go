package monitor

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"ward/abi"
	"ward/image"
)

// waiting is how many wait for their turn.
func (l *loader) waiting() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, list := range l.turns.asked {
		n += len(list)
	}
	return n
}

// Whoever waits for the loader waits for one turn of each other, however often others asked
// before; the end of a delegation does not stand behind what its family loads.
func TestLoaderTurns(t *testing.T) {
	family, user := asker{id: 1}, asker{id: 1, user: true}
	ends, change := asker{id: 1, task: taskEnd}, asker{task: taskChange}
	other, third := asker{id: 2}, asker{id: 3}
	for what, c := range map[string]struct{ asked, want []asker }{
		"in their order":              {[]asker{other, third, user}, []asker{other, third, user}},
		"who has the turn comes last": {[]asker{family, family, family, other, third}, []asker{other, third, family, family, family}},
		"one of each":                 {[]asker{other, other, other, third}, []asker{other, third, other, other}},
		"the end of a delegation":     {[]asker{family, family, ends, change}, []asker{ends, change, family, family}},
	} {
		t.Run(what, func(t *testing.T) {
			var l loader
			var mu sync.Mutex
			var got []asker
			l.lock(family)
			var all sync.WaitGroup
			for i, a := range c.asked {
				all.Go(func() {
					l.lock(a)
					mu.Lock()
					got = append(got, a)
					mu.Unlock()
					l.unlock()
				})
				for l.waiting() <= i {
					runtime.Gosched()
				}
			}
			l.unlock()
			all.Wait()
			if !slices.Equal(got, c.want) {
				t.Errorf("%+v, want %+v", got, c.want)
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.busy || len(l.turns.asked)+len(l.turns.has)+len(l.turns.lines[1]) != 0 {
				t.Errorf("left: %+v", l.turns)
			}
		})
	}
}

// queueFabric holds the first route that it loads, and notes whose it loads.
type queueFabric struct {
	Fabric
	mu     sync.Mutex
	loaded []string
	first  held
}

func (f *queueFabric) Load(img *image.Image, route uint32, a Atoms, c, s Endpoint) (Route, error) {
	name := img.Domains[img.Routes[route].Client].Name
	if len(a.Chain.Levels) > 0 {
		name = fmt.Sprintf("%s %d", name, a.Chain.Client-image.FirstChild)
	}
	f.mu.Lock()
	f.loaded = append(f.loaded, name)
	n := len(f.loaded)
	f.mu.Unlock()
	if n == 1 {
		f.first.wait()
	}
	return f.Fabric.Load(img, route, a, c, s)
}

// A family has a route loaded for each of many children at once. A bystander's
// first route comes after that which is being loaded, and before all others of the family. The
// control: a route of the family's first comes after all of these.
func TestAttackLoadsWithoutEnd(t *testing.T) {
	f := startFamily(t, 0, withSecond)
	queue := &queueFabric{Fabric: f.m.Fabric, first: held{make(chan struct{}), make(chan error, 1)}}
	f.m.mu.Lock()
	f.m.Fabric = queue
	f.m.mu.Unlock()
	bystander := f.domain(second)
	sibling := f.spawn(f.parent, "middle", 0)
	for i, d := range []*fakeDomain{f.child, f.lowest, sibling, f.parent, bystander} {
		d.send(abi.Control{Op: abi.OpOpen, Seq: 50, Interface: "t.Echo", Name: "server"})
		f.until("it waits for its route", func() bool { return len(f.m.loads) == i+1 && f.m.loader.waiting() == i })
	}
	<-queue.first.begun
	close(queue.first.let)
	for _, d := range []*fakeDomain{f.child, f.lowest, sibling, f.parent, bystander} {
		if got, _ := d.read(); got.Op != abi.OpGate {
			t.Errorf("no gate: %+v", got)
		}
	}
	queue.mu.Lock()
	defer queue.mu.Unlock()
	if want := []string{"middle 0", "second", "leaf 1", "middle 2", "client"}; !slices.Equal(queue.loaded, want) {
		t.Errorf("loaded for %q, want %q", queue.loaded, want)
	}
}

// The end of a delegation does not wait for the routes that the lender's children want.
func TestEndBeforeLoads(t *testing.T) {
	f := startFamily(t, 0, func(i *image.Image) {
		i.Grants = append(i.Grants, grantOf(client, second, image.Verdict{Allow: true, Policy: 0}))
	})
	lent, _ := f.parent.ask(lend("second", time.Hour, 0))
	if lent.Op != abi.OpLent {
		t.Fatalf("no delegation: %+v", lent)
	}
	l := &f.m.loader
	l.lock(asker{id: 99})
	for i, d := range []*fakeDomain{f.child, f.lowest} {
		d.send(abi.Control{Op: abi.OpOpen, Seq: 50, Interface: "t.Echo", Name: "server"})
		f.until("it waits for its route", func() bool { return l.waiting() == i+1 })
	}
	f.parent.send(abi.Control{Op: abi.OpTakeBack, Seq: 51, Block: lent.Block})
	f.until("the end waits, too", func() bool { return l.waiting() == 3 })
	l.mu.Lock()
	if family := uint32(client); !slices.Equal(l.turns.lines[1], []asker{{id: family}, {id: family, task: taskEnd}}) {
		t.Errorf("in line: %+v", l.turns.lines[1])
	}
	l.mu.Unlock()
	l.unlock()
	for _, d := range []*fakeDomain{f.child, f.lowest} {
		if got, _ := d.answer(50); got.Op != abi.OpGate {
			t.Errorf("no gate: %+v", got)
		}
	}
	if got, _ := f.parent.answer(51); got.Op != abi.OpOK {
		t.Errorf("not taken back: %+v", got)
	}
}
