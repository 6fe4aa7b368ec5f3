package monitor

import "sync"

// A loader does one thing at a time that loads programs or must not meet such: the
// kernel takes milliseconds of a processor to verify a route, and whoever came first, with a
// hundred children that want five routes each, would keep others from their first for
// seconds. So families have turns, as for gates (turns.go): who waits, waits for what is
// done just now and for at most one route of each other family or user; beside that for the
// end of one delegation of each, which has turns of its own as it must not stand behind
// the routes that its lender's children want, and for a change of the policy.
type loader struct {
	mu    sync.Mutex
	busy  bool
	doing asker // if busy
	turns turns[chan struct{}]
}

// A task is what the loader does.
type task uint8

const (
	taskLoad   task = iota
	taskEnd         // of a delegation
	taskChange      // of the image
)

// lock waits for a turn of a. It takes no other lock, and none must be held that a
// loader's work takes.
func (l *loader) lock(a asker) {
	l.mu.Lock()
	if !l.busy {
		l.busy, l.doing = true, a
		l.turns.begin(a)
		l.mu.Unlock()
		return
	}
	turn := make(chan struct{})
	l.turns.push(a, turn)
	l.mu.Unlock()
	<-turn
}

// unlock ends the turn, and lets the next one begin.
func (l *loader) unlock() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turns.done(l.doing)
	a, turn, ok := l.turns.next()
	if l.busy, l.doing = ok, a; ok {
		close(turn)
	}
}

// lendersTurn is whose turn the end of a delegation has: its lender's family's.
//
// Preconditions: m.mu is not held.
func (m *Monitor) lendersTurn(number uint32) asker {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := asker{task: taskEnd}
	if l := m.lent[number]; l != nil {
		a.id = l.from.payer()
	}
	return a
}
