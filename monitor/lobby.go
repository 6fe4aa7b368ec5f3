package monitor

// A lobby bounds the questions of users that are answered at a time. There are
// two: of those whom some policy lets ask, and of those whom none does, who are
// told so. What the latter hold keeps nobody out who may ask.
type lobby struct {
	most, each int // at a time, of all and of one user ID
	all        int
	perUID     map[uint32]int
	arrivals   map[uint32]*bucket
}

func newLobby(most, each int) lobby {
	return lobby{most: most, each: each, perUID: map[uint32]int{}, arrivals: map[uint32]*bucket{}}
}

// enter counts a question of a user in, or says that there is no room.
func (l *lobby) enter(uid uint32) bool {
	b := l.arrivals[uid]
	if b == nil {
		for id, old := range l.arrivals {
			if old.fill(); old.tokens == old.burst {
				delete(l.arrivals, id)
			}
		}
		if len(l.arrivals) >= maxOperatorIDs {
			return false
		}
		b = newBucket(operatorRate, operatorBurst)
		l.arrivals[uid] = b
	}
	if !b.take() || l.all >= l.most || l.perUID[uid] >= l.each {
		return false
	}
	l.all++
	l.perUID[uid]++
	return true
}

func (l *lobby) leave(uid uint32) {
	l.all--
	if l.perUID[uid]--; l.perUID[uid] == 0 {
		delete(l.perUID, uid)
	}
}
