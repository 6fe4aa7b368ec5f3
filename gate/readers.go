package gate

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ward/abi"
)

// A pool is the readers of a server's gate: goroutines that block in recvmsg
// and run the handlers of the calls that they read.
//
// A handler must not hold up other calls, so while it runs another reader must
// block in recvmsg. But two that take turns there cost a quick call a third of
// its time: the kernel wakes them in turn, on different threads and often on
// different processors. So a method shows what it is. As long as it is not
// known to be quick, another reader is there before its handler runs. Once
// enough of its calls were quick, its handlers run with no other
// reader; the watchdog notices one that is slow after all, brings a reader in,
// and the method has lost its good name for a while (docs/decisions/0016).
type pool struct {
	idle    atomic.Int32 // readers that are in, or on the way to, recvmsg
	wg      sync.WaitGroup
	methods []pace // by ordinal

	mu      sync.Mutex
	readers []*reader
}

const (
	quick     = 50 * time.Microsecond // what a handler may take to count as quick
	provenBy  = 64                    // quick calls
	slowCosts = 8                     // quick calls make up for a slow one
	suspicion = 20                    // times provenBy calls, after a method was caught
	keepIdle  = 4                     // idle readers that stay where methods are slow
	maxPool   = abi.Slots + 1         // all calls that can be pending, and one that reads
)

// pace is what is known about how quick a method is.
type pace struct {
	quick atomic.Bool
	score atomic.Int32 // quick calls, less what slow ones cost
}

// note counts a call that took d.
func (p *pace) note(d time.Duration) {
	if d > quick {
		if p.score.Load() > 0 {
			p.score.Add(-slowCosts)
		}
		return
	}
	if p.score.Add(1) >= provenBy {
		p.quick.Store(true)
	}
}

// caught takes the good name back.
func (p *pace) caught() {
	p.score.Store(-suspicion * provenBy)
	p.quick.Store(false)
}

// reader is one reader, as the watchdog sees it.
type reader struct {
	// alone is odd while a handler runs with no other reader; it counts up at
	// both ends.
	alone  atomic.Uint32
	method atomic.Uint32

	seen uint32 // of the watchdog: alone at its last round
}

// start adds a reader.
func (p *pool) start(g *serverGate) {
	p.idle.Add(1)
	p.wg.Add(1)
	go p.read(g)
}

func (p *pool) read(g *serverGate) {
	defer p.wg.Done()
	if !g.link.enter() {
		return
	}
	defer g.link.leave()
	r := &reader{}
	p.mu.Lock()
	p.readers = append(p.readers, r)
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.readers = slices.DeleteFunc(p.readers, func(o *reader) bool { return o == r })
	}()
	buf := receiving.Get().(*buffer)
	defer func() { buf.free() }()
	for {
		call, kept, err := g.next(buf)
		if kept {
			buf = receiving.Get().(*buffer)
		}
		if err != nil {
			g.fail(err)
			return
		}
		if call != nil && !p.run(g, r, call) {
			return
		}
	}
}

// run runs a call. It reports whether its reader is to go on.
func (p *pool) run(g *serverGate, r *reader, call *ServerCall) bool {
	pace := &p.methods[call.h.Method]
	if pace.quick.Load() {
		p.idle.Add(-1)
		r.method.Store(call.h.Method)
		r.alone.Add(1)
		watch.busy(g) // after alone, see look
		call.serve()
		r.alone.Add(1)
		return p.goOn(1)
	}
	if p.idle.Add(-1) == 0 {
		p.start(g)
	}
	if call.method.ClientStream || call.method.ServerStream {
		call.serve()
	} else {
		start := time.Now()
		call.serve()
		pace.note(time.Since(start))
		if pace.quick.Load() {
			return p.goOn(1)
		}
	}
	return p.goOn(keepIdle)
}

// goOn makes the calling reader idle again, unless there are keep idle ones without it.
func (p *pool) goOn(keep int32) bool {
	for {
		n := p.idle.Load()
		if n >= keep {
			return false
		}
		if p.idle.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// check looks for a handler that runs alone and did so a round ago.
func (p *pool) check(g *serverGate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.readers {
		n := r.alone.Load()
		stuck := n&1 == 1 && n == r.seen
		r.seen = n
		if !stuck {
			continue
		}
		p.methods[r.method.Load()].caught()
		if p.idle.Load() == 0 && len(p.readers) < maxPool && !g.link.closing() {
			p.start(g)
		}
	}
}

// round is how often the watchdog looks: a method that was quick so far and
// turns slow holds up other calls for two rounds at most, once.
const round = 2 * time.Millisecond

// quiet is for how many rounds the watchdog stays when nothing happens.
const quiet = 100

// watchdog looks at the gates whose handlers run alone. It runs only while
// there are such calls.
type watchdog struct {
	awake atomic.Bool

	mu    sync.Mutex
	gates map[*serverGate]int // rounds without a call
}

var watch = watchdog{gates: map[*serverGate]int{}}

// busy says that a handler of g is about to run alone.
func (w *watchdog) busy(g *serverGate) {
	if g.active.Load() {
		return
	}
	g.active.Store(true)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gates[g] = 0
	if !w.awake.Load() {
		w.awake.Store(true)
		go w.run()
	}
}

func (w *watchdog) run() {
	tick := time.NewTicker(round)
	defer tick.Stop()
	for range tick.C {
		if !w.look() {
			return
		}
	}
}

// look makes one round. It reports whether there is anything left to watch.
func (w *watchdog) look() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for g := range w.gates {
		g.pool.check(g)
		calls := g.pool.calls()
		if calls != g.calls0 {
			g.calls0, w.gates[g] = calls, 0
		} else if w.gates[g]++; w.gates[g] > quiet {
			// A call that starts now either finds active false, or is found not resting.
			g.active.Store(false)
			if g.pool.resting() || g.active.Load() {
				delete(w.gates, g)
			} else {
				g.active.Store(true)
			}
		}
	}
	if len(w.gates) == 0 {
		w.awake.Store(false)
		return false
	}
	return true
}

// calls sums up what the readers have done alone.
func (p *pool) calls() (n uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.readers {
		n += r.alone.Load()
	}
	return n
}

// resting reports that no handler runs alone.
func (p *pool) resting() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.readers {
		if r.alone.Load()&1 == 1 {
			return false
		}
	}
	return true
}
