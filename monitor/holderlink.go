package monitor

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"ward/holder/link"
)

// HolderLink is the monitor's side of the channel to the holder.
type HolderLink struct{ *link.Conn }

// Bound tells the holder of a path to remove at the end.
func (h HolderLink) Bound(path string) error { return h.Tell(link.Bound, path) }

// Ready says that all domains are started.
func (h HolderLink) Ready() error { return h.Tell(link.Ready, "") }

// Grace tells the longest time of grace that a domain may have from now on, in case the
// system ends by the holder: that waits so long for the monitor.
func (h HolderLink) Grace(longest time.Duration) error {
	return h.Tell(link.Grace, link.GraceText(longest))
}

// Upgrade asks for all processes to be started again, of the program that
// stands where the running one was started from.
func (h HolderLink) Upgrade() error { return h.Tell(link.Upgrade, "") }

// Restore receives what a monitor before this one kept, and the ends of domains
// that nobody else could tell: nothing at the first start.
func (h HolderLink) Restore() (kept []Kept, ends []Ended, err error) {
	for {
		k, text, files, err := h.Hear()
		if err != nil {
			return nil, nil, err
		}
		switch k {
		case link.Whole:
			return kept, ends, nil
		case link.Kept:
			name, value, _ := strings.Cut(text, "\x00")
			kept = append(kept, Kept{name, []byte(value), files})
		case link.Many:
			link.CloseAll(files)
			texts, err := link.Unpack(text)
			if err != nil {
				return nil, nil, err
			}
			for _, text := range texts {
				name, value, _ := strings.Cut(text, "\x00")
				kept = append(kept, Kept{name, []byte(value), nil})
			}
		case link.Orphan:
			if e, ok := orphan(text); ok {
				ends = append(ends, e)
			}
		default:
			link.CloseAll(files)
		}
	}
}

// Ended is the end of a domain's process that came to the holder.
type Ended struct {
	PID    int
	Status syscall.WaitStatus
}

func orphan(text string) (e Ended, ok bool) {
	_, err := fmt.Sscanf(text, "%d %d", &e.PID, &e.Status)
	return e, err == nil
}

// A Listener is told what the holder says.
type Listener struct {
	Stop    func()
	Creator func(*os.File) // there is a new creator; the channel to it
	Audit   func()         // there is a new audit writer, at the old channel
	Orphan  func(Ended)
	Refused func(why string) // no upgrade is made
}

// Listen acts on what the holder says until that has ended. It goes on after the holder wants
// the ordered stop: of domains whose creator died it is the holder that tells the end.
//
// It hears the holder also while it acts on something: the holder reads nothing while it tells
// the ends of many processes, and who acts on one of them may have to wait until it reads.
func (h HolderLink) Listen(l Listener) {
	defer l.Stop()
	said := h.hearAll()
	for {
		s, more := said.next()
		if !more {
			return
		}
		switch {
		case s.Kind == link.Stop:
			l.Stop()
		case s.Kind == link.Renewed && s.Text == "creator" && len(s.Files) == 1:
			l.Creator(s.Files[0])
			continue
		case s.Kind == link.Renewed && s.Text == "audit":
			l.Audit()
		case s.Kind == link.Orphan:
			if e, ok := orphan(s.Text); ok {
				l.Orphan(e)
			}
		case s.Kind == link.Refused:
			l.Refused(s.Text)
		}
		link.CloseAll(s.Files)
	}
}

// hearing is what the holder has said and nobody has acted on, in order. It grows with
// the number of processes that have ended, of which there are no more than there were.
type hearing struct {
	mu   sync.Mutex
	said []link.Message
	over bool       // the holder has ended
	more *sync.Cond // it has said something, or has ended
}

// hearAll hears the holder until it has ended.
func (h HolderLink) hearAll() *hearing {
	q := &hearing{}
	q.more = sync.NewCond(&q.mu)
	go q.hear(h)
	return q
}

func (q *hearing) hear(h HolderLink) {
	for {
		kind, text, files, err := h.Hear()
		q.mu.Lock()
		if q.over = err != nil; !q.over {
			q.said = append(q.said, link.Message{Kind: kind, Text: text, Files: files})
		}
		q.more.Signal()
		q.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// next is what was said next; false: the holder has ended.
func (q *hearing) next() (link.Message, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.said) == 0 && !q.over {
		q.more.Wait()
	}
	if len(q.said) == 0 {
		return link.Message{}, false
	}
	s := q.said[0]
	q.said = q.said[1:]
	return s, true
}
