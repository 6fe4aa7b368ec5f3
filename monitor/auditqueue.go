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
	conn   *link.Conn
	queue  chan queued
	done   chan struct{}
	mu     sync.Mutex
	lost   uint64
	closed bool
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
func NewAuditQueue(conn *link.Conn) *AuditQueue {
	q := &AuditQueue{conn: conn, queue: make(chan queued, auditQueue), done: make(chan struct{})}
	go q.send()
	return q
}

// Event queues e. It takes files over.
func (q *AuditQueue) Event(e event.Event, files ...*os.File) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		select {
		case q.queue <- queued{e, files}:
			return
		default:
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
		lost := q.lost
		q.lost = 0
		q.mu.Unlock()
		if lost > 0 {
			e := event.New(event.Lost)
			e.Count = lost
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

// Close sends what is queued and closes the connection.
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
