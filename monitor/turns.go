package monitor

// Turns: gates are made by a few goroutines, for those who ask in turn. Who asks again
// and again has one turn when all others who ask have had theirs, and one gate at a time is
// made for it, in the order of its requests: else whoever has many processes, or
// uses up its numbers so that each gate takes a grace period, would keep others waiting.
//
// Requests for a gate to the name server have every second turn, if there are such: others
// wait for what is done there, and an order of magnitude more ask for other gates.
// Who asks for these without end has no more of the turns than that, and shares
// them with all who ask for the same.
//
// The same holds for what the loader does (loader.go), one at a time and in one line.

// makersMost is how many gates are made at a time: the kernel verifies each on a
// processor of its own, if there is one.
const makersMost = 4

// An asker is who has turns: a domain with all its children, its family, or a user
// outside Ward with all its connections.
type asker struct {
	id    uint32 // of the domain of the image, or of the user
	user  bool
	names bool // its requests for gates to the name server have turns of their own
	task  task // of the loader
}

func (m *Monitor) askerOf(o *opening) asker {
	a := familyOf(o)
	a.names = m.Image.Interfaces[o.iface].Name == namesInterface
	return a
}

// familyOf is who asks, whatever it asks for.
func familyOf(o *opening) asker {
	if o.user != nil {
		return asker{id: o.user.credentials.UID, user: true}
	}
	return asker{id: o.client.payer()}
}

// turns are the requests that wait for one. Whoever has them guards them.
type turns[T any] struct {
	lines [2][]asker // those who wait and have none: 0 for the name server, 1 for all others
	last  int        // the line of the last turn
	asked map[asker][]T
	has   map[asker]bool // a turn
}

func (a asker) line() int {
	if a.names {
		return 0
	}
	return 1
}

func (t *turns[T]) push(a asker, o T) {
	if t.asked == nil {
		t.asked = map[asker][]T{}
	}
	t.asked[a] = append(t.asked[a], o)
	if len(t.asked[a]) == 1 && !t.has[a] {
		t.lines[a.line()] = append(t.lines[a.line()], a)
	}
}

// begin begins a turn of who need not wait for it.
func (t *turns[T]) begin(a asker) {
	if t.has == nil {
		t.has = map[asker]bool{}
	}
	t.has[a] = true
}

// next begins a turn; false: nobody waits but those who have one.
func (t *turns[T]) next() (a asker, o T, ok bool) {
	for _, line := range []int{1 - t.last, t.last} {
		if len(t.lines[line]) == 0 {
			continue
		}
		a = t.lines[line][0]
		t.lines[line], t.last = t.lines[line][1:], line
		o = t.asked[a][0]
		if t.asked[a] = t.asked[a][1:]; len(t.asked[a]) == 0 {
			delete(t.asked, a)
		}
		t.begin(a)
		return a, o, true
	}
	return a, o, false
}

// done ends a turn.
func (t *turns[T]) done(a asker) {
	delete(t.has, a)
	if len(t.asked[a]) > 0 {
		t.lines[a.line()] = append(t.lines[a.line()], a)
	}
}

// awaitTurn waits until the turn of what a domain has just asked is over, so that
// it has no more than one of its requests in line however fast it asks.
//
// Preconditions: m.mu is not held.
func awaitTurn(turn chan struct{}) {
	if turn != nil {
		<-turn
	}
}
