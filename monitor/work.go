package monitor

import (
	"context"
	"errors"
	"sync"
	"time"
)

// What is under way beside Run. All of it may have something to record, and the
// queue to the audit writer is closed when Run returns: so Run does not return
// before all of it has ended, and lets nothing begin after that. What is counted is
// what is done, not what is waited for: whoever hears a channel is counted from the
// message on, and a timer from its end.
//
// Invariant: Monitor.Audit is used by Run, and by what is counted here.

// A work is what is under way, in three phases: all may begin; only what follows
// from what is under way or from what others tell (that a process has ended), and
// no request; nothing. The zero value is not one: newWork.
type work struct {
	mu    sync.Mutex
	n     int
	phase phase
	limit time.Duration   // of the second phase
	idle  chan struct{}   // closed when the last phase begins
	ctx   context.Context // ends when the second one does: for what waits for others
	hurry context.CancelFunc
}

type phase uint8

const (
	working phase = iota
	draining
	drained
)

// drainWait bounds how long what is under way may take at the end, when all domains
// have ended: the holder waits for the monitor for 15 s more than the time of grace.
const drainWait = 5 * time.Second

// errStopping is why a request is refused when that is waited for.
var errStopping = errors.New("the system is stopping")

func newWork() *work {
	w := &work{limit: drainWait, idle: make(chan struct{})}
	w.ctx, w.hurry = context.WithCancel(context.Background())
	return w
}

// begin counts something in, unless it is too late for it: then it must not be
// done. Otherwise done must follow.
func (w *work) begin() bool { return w.enter(draining) }

// asked does so for a request.
func (w *work) asked() bool { return w.enter(working) }

func (w *work) enter(last phase) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.phase > last {
		return false
	}
	w.n++
	return true
}

// done counts it out.
func (w *work) done() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n--
	w.check()
}

// check begins the last phase if it is time for it.
//
// Preconditions: w.mu is held.
func (w *work) check() {
	if w.phase == draining && w.n == 0 {
		w.phase = drained
		close(w.idle)
	}
}

// run does something beside the caller. It is counted when run returns.
func (w *work) run(do func()) {
	if !w.begin() {
		return
	}
	go func() {
		defer w.done()
		do()
	}()
}

// after does so after some time.
func (w *work) after(delay time.Duration, do func()) *time.Timer {
	return time.AfterFunc(delay, func() { w.run(do) })
}

// drains reports whether the end of what is under way is waited for.
func (w *work) drains() bool { return w.ctx.Err() != nil }

// drain waits until nothing is under way, and returns how much is if that takes too
// long. Nothing begins afterwards.
func (w *work) drain() (left int) {
	late := time.NewTimer(w.limit)
	defer late.Stop()
	w.mu.Lock()
	w.phase = draining
	w.check()
	w.mu.Unlock()
	w.hurry()
	select {
	case <-w.idle:
		return 0
	case <-late.C:
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.phase = drained
	return w.n
}
