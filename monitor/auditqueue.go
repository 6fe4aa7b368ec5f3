package monitor

import (
	"os"
	"sync"
	"time"

	"ward/audit/event"
	"ward/holder/link"
)

// An AuditQueue sends events to the audit writer, in order, without making the
// monitor wait: what does not fit into the queue is counted, and the count is
// sent when there is room.
type AuditQueue struct {
	conn    *link.Conn
	queue   chan queued
	done    chan struct{}
	mu      sync.Mutex
	lost    uint64
	number  uint64 // of the last event: those of later monitors are higher
	waits   int    // events in the queue
	closed  bool
	backlog func(bool) // told when the queue is not empty any more, or again
}

type queued struct {
	event event.Event
	files []*os.File
}

const (
	auditQueue = 4096
	auditWait  = 30 * time.Second // for a writer whose disk does not answer
)

// NewAuditQueue makes a queue to the writer behind conn, which it takes over.
func NewAuditQueue(conn *link.Conn) *AuditQueue { return NumberedAuditQueue(conn, 0) }

// NumberedAuditQueue makes the queue of one of several monitors, one after the other.
func NumberedAuditQueue(conn *link.Conn, monitor uint) *AuditQueue {
	q := &AuditQueue{conn: conn, number: uint64(monitor) << 40, queue: make(chan queued, auditQueue), done: make(chan struct{})}
	go q.send()
	return q
}

// Backlog makes the queue tell whether events wait in it, which would be lost
// with this process. Call it before the first event.
func (q *AuditQueue) Backlog(told func(bool)) { q.backlog = told }

// Event queues e. It takes files over.
func (q *AuditQueue) Event(e event.Event, files ...*os.File) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.number++
	e.Number = q.number
	if !q.closed {
		// What is in the socket outlives this process.
		if q.waits == 0 && q.lost == 0 && q.conn.Try(e.Encode(), files...) == nil {
			link.CloseAll(files)
			return
		}
		if q.waits++; q.waits == 1 && q.backlog != nil {
			q.backlog(true)
		}
		select {
		case q.queue <- queued{e, files}:
			return
		default:
			q.waits--
		}
	}
	q.lost++
	link.CloseAll(files)
}

func (q *AuditQueue) send() {
	defer close(q.done)
	for {
		next, open := <-q.queue
		if open {
			q.put(next.event, next.files)
		}
		q.mu.Lock()
		if open {
			if q.waits--; q.waits == 0 && q.backlog != nil {
				q.backlog(false)
			}
		}
		lost := q.lost
		q.lost = 0
		q.mu.Unlock()
		if lost > 0 {
			e := event.New(event.Lost)
			e.Count = lost
			q.mu.Lock()
			q.number++
			e.Number = q.number
			q.mu.Unlock()
			q.put(e, nil)
		}
		if !open {
			return
		}
	}
}

func (q *AuditQueue) put(e event.Event, files []*os.File) {
	if q.conn.Send(e.Encode(), auditWait, files...) != nil {
		q.mu.Lock()
		q.lost++
		if e.Kind == event.Lost {
			q.lost += e.Count - 1
		}
		q.mu.Unlock()
	}
	link.CloseAll(files)
}

// Close sends what is queued and closes the connection. Events must have ended
// before (Monitor.Run has returned): those that come later are lost, and nobody is told.
func (q *AuditQueue) Close() {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.queue)
	}
	q.mu.Unlock()
	<-q.done
	q.conn.Close()
}
