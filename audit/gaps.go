package audit

import "time"

// gapTime is how long a number may be missing before its record is lost. The
// filter numbers a record before it has a place in the ring (two senders on
// two processors may swap), and records are put in order of time.
const gapTime = 100 * time.Millisecond

// maxGaps bounds what is remembered of a sender; beyond, the oldest gap counts
// as lost at once.
const maxGaps = 64

// gaps finds the numbers that are missing among those of one sender.
type gaps struct {
	next uint64 // one more than the highest number seen
	open []gap  // in order
}

type gap struct {
	from, to uint64 // inclusive
	since    time.Time
}

// see notes a number, and returns how many are lost for good because there are
// too many gaps.
func (g *gaps) see(n uint64, now time.Time) (lost uint64) {
	if n >= g.next {
		if n > g.next {
			g.open = append(g.open, gap{g.next, n - 1, now})
		}
		g.next = n + 1
		if len(g.open) > maxGaps {
			lost = g.open[0].size()
			g.open = g.open[1:]
		}
		return lost
	}
	for i := range g.open {
		o := &g.open[i]
		if n < o.from || n > o.to {
			continue
		}
		after := gap{n + 1, o.to, o.since}
		o.to = n - 1
		if after.size() > 0 {
			g.open = append(g.open[:i+1], append([]gap{after}, g.open[i+1:]...)...)
		}
		if g.open[i].size() == 0 {
			g.open = append(g.open[:i], g.open[i+1:]...)
		}
		break
	}
	return 0
}

func (o gap) size() uint64 { return o.to + 1 - o.from }

// expire returns how many numbers have been missing for too long at now, and
// forgets them.
func (g *gaps) expire(now time.Time) (lost uint64) {
	for len(g.open) > 0 && now.Sub(g.open[0].since) >= gapTime {
		lost += g.open[0].size()
		g.open = g.open[1:]
	}
	return lost
}

// finish returns how many of the numbers up to total were not seen.
func (g *gaps) finish(total uint64) (lost uint64) {
	for _, o := range g.open {
		lost += o.size()
	}
	g.open = nil
	if total >= g.next {
		lost += total + 1 - g.next
		g.next = total + 1
	}
	return lost
}
