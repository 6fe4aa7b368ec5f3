package creator

import (
	"container/heap"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/kernel"
)

// Limits of which the kernel tells nobody (kernel/standing.go): the creator looks
// who stands at one, more often at who is near. It is told as a number: how many
// stand there now, whenever that changes. What lasts shorter than the time between
// two looks is not seen.
//
// All looking together takes no more than one part in lookShare of a processor,
// however many domains there are and whatever they do. Where that is not enough for
// all, those that are near a limit and those that are far have their turn alternately.

// Limits that a domain stands at. Of these Hit.Count is how many stand there now, and 0
// says that none does any more.
const (
	LimitFiles    Limit = 4 // processes that have all descriptors open that they may
	LimitFileSize Limit = 5 // threads to which writing beyond the greatest size of a file was refused
	LimitTmp      Limit = 6 // 1: no byte of /tmp is free
	LimitTmpFiles Limit = 7 // 1: no file can be made in /tmp
)

// standings are the limits that are looked at.
var standings = [...]Limit{LimitFiles, LimitFileSize, LimitTmp, LimitTmpFiles}

const (
	defaultLook = 2 * time.Second        // between two looks at a domain that is far from its limits
	nearLook    = 250 * time.Millisecond // … at one that is near
	lookShare   = 200                    // the part of a processor's time that looking takes at most
	lookSlice   = 500 * time.Microsecond // of looking at a time, while requests wait
	standPause  = time.Second            // between two notices that more stand at a limit of one domain
	threadTurns = 4                      // threads are looked at in one of so many rounds: what is found there stays
)

// near reports whether so much is used that a limit is hit soon; below, whether
// so much is free again that it was left: one who stands at a limit goes back
// and forth.
func near(used, limit uint64) bool  { return used >= limit-limit/4 }
func below(used, limit uint64) bool { return used < limit-limit/16 }

// A look is what is known of one domain.
type look struct {
	running *running
	files   uint64   // that a process may have open
	tmp     *os.File // nil: it could not be opened
	due     time.Time
	near    int // 1: it is near a limit, 0: far
	at      int // in its queue
	turn    int

	// The round that is under way: a domain with thousands of threads is not
	// looked at in one go.
	started bool
	pids    []int
	tids    []int // of the process pid
	pid     int
	most    uint64 // descriptors of one process
	full    uint64 // processes that have all
	refused uint64 // threads

	stands [len(standings)]standing
	untold bool // of one that was taken over: what the creator before told is not known
}

// A standing is what was told of one limit last.
type standing struct {
	n    uint64
	told time.Time // that there are more
}

// looks are the domains that run, in each queue who is next first.
type looks struct {
	queues [2]lookQueue // far, near
	last   int          // from which one was looked at last
	of     map[abi.DomainID]*look
	rest   time.Time // nobody is looked at before: it took its part
}

// next is whose turn it is next.
func (ls *looks) next(now time.Time) *look {
	var due, first *look
	for i := range ls.queues {
		q := ls.queues[(ls.last+1+i)%len(ls.queues)] // the other one first
		if len(q) == 0 {
			continue
		}
		if due == nil && !q[0].due.After(now) {
			due = q[0]
		}
		if first == nil || q[0].due.Before(first.due) {
			first = q[0]
		}
	}
	if due != nil {
		return due
	}
	return first
}

type lookQueue []*look

func (q lookQueue) Len() int           { return len(q) }
func (q lookQueue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q lookQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i]; q[i].at, q[j].at = i, j }
func (q *lookQueue) Push(x any)        { l := x.(*look); l.at = len(*q); *q = append(*q, l) }
func (q *lookQueue) Pop() any {
	last := len(*q) - 1
	l := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return l
}

// watchStanding begins to look at a domain.
func (c *creator) watchStanding(r *running) {
	q := c.img.LimitsOf(c.family.Def(r.domain))
	l := &look{running: r, files: uint64(q.Files), tmp: r.process.Tmp, due: c.turnAfter(time.Now(), c.every()), untold: r.adopted}
	r.process.Tmp = nil
	if r.adopted {
		uid := c.uid(r.domain)
		if tmp, err := kernel.OpenTmp(r.process.PID, uid, uid); err == nil && !hasEnded(r.process.Pidfd) { // else the number may be another's
			l.tmp = tmp
		} else if err == nil {
			tmp.Close()
		}
	}
	if c.looks.of == nil {
		c.looks.of = map[abi.DomainID]*look{}
	}
	c.looks.of[r.domain] = l
	heap.Push(&c.looks.queues[l.near], l)
}

// unwatchStanding ends that: what its processes left in /tmp is looked at once
// more, and from then on nobody stands anywhere.
func (c *creator) unwatchStanding(r *running) {
	l := c.looks.of[r.domain]
	if l == nil {
		return
	}
	heap.Remove(&c.looks.queues[l.near], l.at)
	delete(c.looks.of, r.domain)
	c.lookAtTmp(l, time.Now()) // errors: the channel is closed, and the loop learns it
	for i, limit := range standings {
		if l.stands[i].n > 0 {
			c.tellHit(r.domain, limit, 0)
		}
	}
	if l.tmp != nil {
		go l.tmp.Close() // the last one frees what is in it, which takes long if that is much
	}
}

// every is the time between two looks at one who is far from its limits.
func (c *creator) every() time.Duration {
	if c.cfg.Look > 0 {
		return c.cfg.Look
	}
	return defaultLook
}

// turnAfter is when a domain is looked at next. Many have their turn at the same
// time, so that the creator wakes once for all.
func (c *creator) turnAfter(now time.Time, wait time.Duration) time.Time {
	grid := min(wait, nearLook)
	return now.Add(wait).Truncate(grid).Add(grid)
}

// untilLook is how long the loop may wait, in ms; -1: for ever.
func (c *creator) untilLook(now time.Time) int {
	l := c.looks.next(now)
	if l == nil {
		return -1
	}
	next := l.due
	if next.Before(c.looks.rest) {
		next = c.looks.rest
	}
	return int(max(0, next.Sub(now))/time.Millisecond) + 1
}

// look looks at those whose turn it is, for a while.
func (c *creator) look() error {
	now := time.Now()
	l := c.looks.next(now)
	if l == nil || now.Before(c.looks.rest) || l.due.After(now) {
		return nil
	}
	began := processorTime()
	end := now.Add(lookSlice)
	for now.Before(end) && !l.due.After(now) {
		if !c.lookAt(l, end) {
			break // in the middle of it, and still the first of its queue
		}
		now = time.Now()
		wait, err := c.judge(l, now)
		if err != nil {
			return err
		}
		heap.Remove(&c.looks.queues[l.near], l.at)
		c.looks.last, l.near, l.due = l.near, 0, c.turnAfter(now, wait)
		if wait < c.every() {
			l.near = 1
		}
		heap.Push(&c.looks.queues[l.near], l)
		l = c.looks.next(now)
	}
	if c.cfg.Look == 0 {
		c.looks.rest = time.Now().Add(lookShare * (processorTime() - began))
	}
	return nil
}

// lookAt goes on with the round of a domain until end, and reports whether it is complete.
// Processes and threads that have just ended are of no account.
func (c *creator) lookAt(l *look, end time.Time) bool {
	if !l.started {
		l.started, l.turn = true, l.turn+1
		l.most, l.full, l.refused, l.pids = 0, 0, 0, c.processesOf(l.running)
	}
	for len(l.pids) > 0 || len(l.tids) > 0 {
		if last := len(l.tids) - 1; last >= 0 {
			if refused, err := kernel.FileSizeRefused(l.pid, l.tids[last]); err == nil && refused {
				l.refused++
			}
			l.tids = l.tids[:last]
		} else {
			l.pid, l.pids = l.pids[0], l.pids[1:]
			if n, err := kernel.OpenFiles(l.pid); err == nil {
				l.most = max(l.most, n)
				if n >= l.files {
					l.full++
				}
			}
			if l.threads() {
				l.tids, _ = kernel.Threads(l.pid)
			}
		}
		if !time.Now().Before(end) {
			return false
		}
	}
	l.started = false
	return true
}

// threads reports whether this round looks at threads.
func (l *look) threads() bool { return l.turn%threadTurns == 1 }

// judge tells what a round has found, and returns when the next one is to be.
func (c *creator) judge(l *look, now time.Time) (time.Duration, error) {
	if err := c.stand(l, 0, l.full, below(l.most, l.files), now); err != nil {
		return 0, err
	}
	if l.threads() {
		if err := c.stand(l, 1, l.refused, true, now); err != nil {
			return 0, err
		}
	}
	full, err := c.lookAtTmp(l, now)
	if err != nil {
		return 0, err
	}
	if l.threads() { // all four were looked at
		l.untold = false
	}
	if full || near(l.most, l.files) {
		return min(nearLook, c.every()), nil
	}
	return c.every(), nil
}

// lookAtTmp tells whether the /tmp of a domain is full, and returns whether it nearly is.
func (c *creator) lookAtTmp(l *look, now time.Time) (bool, error) {
	if l.tmp == nil {
		return false, nil
	}
	s, err := kernel.SpaceOf(l.tmp)
	if err != nil { // a security module does not let it: that nobody looks is no reason to end
		fmt.Fprintf(os.Stderr, "wardd creator: nobody looks any more whether the /tmp of %s is full: %v\n", c.nameOf(l.running.domain), err)
		l.tmp.Close()
		l.tmp = nil
		return false, nil
	}
	one := func(free uint64) uint64 {
		if free == 0 {
			return 1
		}
		return 0
	}
	if err := c.stand(l, 2, one(s.BytesFree), below(s.Bytes-s.BytesFree, s.Bytes), now); err != nil {
		return false, err
	}
	if err := c.stand(l, 3, one(s.FilesFree), below(s.Files-s.FilesFree, s.Files), now); err != nil {
		return false, err
	}
	return near(s.Bytes-s.BytesFree, s.Bytes) || near(s.Files-s.FilesFree, s.Files), nil
}

// stand tells how many stand at a limit, if it is another number than the last
// one: more not twice a second, fewer only when the limit was left.
func (c *creator) stand(l *look, i int, n uint64, left bool, now time.Time) error {
	s := &l.stands[i]
	switch {
	case n > s.n:
		if now.Sub(s.told) < standPause {
			return nil
		}
		s.told = now
	case n < s.n && left:
	case l.untold:
	default:
		return nil
	}
	s.n = n
	return c.tellHit(l.running.domain, standings[i], n)
}

// processesOf lists the processes of a domain; of one without a cgroup that is the first one.
func (c *creator) processesOf(r *running) []int {
	if r.cgroup == nil {
		return []int{r.process.PID}
	}
	pids, err := r.cgroup.Processes()
	if err != nil { // it is about to be reaped
		return nil
	}
	return pids
}

// processorTime is how long this process has run so far.
func processorTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
