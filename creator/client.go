package creator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ward/abi"
)

// ErrGone: the creator has ended, or its channel was closed.
var ErrGone = errors.New("the creator has ended")

// Started is what the creator says of a domain that runs.
type Started struct {
	PID    int      // of the domain's first process, in the creator's PID namespace
	UID    uint32   // its user and group ID
	Cgroup uint64   // ID of its cgroup; 0: there is none
	Pidfd  *os.File // of the first process; the receiver closes it
	Ring   *os.File // of what it is refused by addresses (kernel.Guard); nil: none; the receiver closes it
	Notify *os.File // for sd_notify(3); nil: none; the receiver closes it
}

// Exit says that a domain's first process, and with it all its processes, has ended.
type Exit struct {
	Domain  abi.DomainID
	PID     int
	Status  syscall.WaitStatus
	Refused uint64 // records of its Ring, the lost ones included
	Number  uint64 // for Heard
}

// A Client is the asking side. Its methods may be called from several goroutines.
type Client struct {
	conn  *os.File
	raw   syscall.RawConn // conn, which is not closed, and its number another's, while something is sent
	fd    int             // for who reads, and closes conn
	turn  chan struct{}   // has an element while something is sent
	exits chan Exit
	hits  chan Hit

	mu      sync.Mutex
	seq     uint32
	waiting map[uint32]chan answer // nil: closed
	queue   []Exit
	more    *sync.Cond // queue has grown, or the reader has ended
	ended   bool

	again   uint32     // number of the request of Takeover; 0: it is answered, or there was none
	early   []message  // told unasked before that answer
	numbers bool       // the creator numbers what it tells unasked
	acted   []byte     // numbers that it is to hear (notice.go)
	toSay   *sync.Cond // there are some, or the reader has ended
}

type answer struct {
	message
	files []*os.File
}

// NewClient takes over the asking end of the channel.
func NewClient(conn *os.File) *Client {
	c := newClient(conn)
	c.run()
	return c
}

func newClient(conn *os.File) *Client {
	// Of what was asked by another client on this channel before, answers may come.
	c := &Client{conn: conn, fd: int(conn.Fd()), turn: make(chan struct{}, 1), seq: uint32(time.Now().UnixNano()), exits: make(chan Exit), hits: make(chan Hit, maxHits), waiting: map[uint32]chan answer{}}
	c.raw, _ = conn.SyscallConn() // an error only of no file at all
	c.more, c.toSay = sync.NewCond(&c.mu), sync.NewCond(&c.mu)
	return c
}

func (c *Client) run() {
	go c.read()
	go c.deliver()
	go c.say()
}

// Start starts a domain. control becomes its descriptor 3, output its standard
// output and error; both stay the caller's. If ctx ends first, a domain that is
// started nevertheless shows by its Exit.
func (c *Client) Start(ctx context.Context, domain abi.DomainID, control, output *os.File) (Started, error) {
	return c.started(c.ask(ctx, message{op: opStart, domain: uint32(domain)}, control, output))
}

// started is what the answer to a request for a domain says.
func (c *Client) started(a answer, err error) (Started, error) {
	if err != nil {
		return Started{}, err
	}
	s := Started{PID: int(a.pid), UID: a.uid, Cgroup: a.cgroup}
	want := []**os.File{&s.Pidfd}
	if a.arg&hasRing != 0 {
		want = append(want, &s.Ring)
	}
	if a.arg&hasNotify != 0 {
		want = append(want, &s.Notify)
	}
	if a.op != opStarted || len(a.files) != len(want) {
		closeFiles(a.files)
		return Started{}, errMessage
	}
	for i, f := range a.files {
		*want[i] = f
	}
	return s, nil
}

// Signal sends a signal to the first process of a running domain. A process
// that has no handler for it ignores it, being the first of its PID namespace:
// all but SIGKILL and SIGSTOP are requests.
func (c *Client) Signal(ctx context.Context, domain abi.DomainID, sig syscall.Signal) error {
	_, err := c.ask(ctx, message{op: opSignal, domain: uint32(domain), arg: uint32(sig)})
	return err
}

// Stop kills all domains, waits until they have ended and their cgroups are
// removed, and ends the creator. All Exits come before it returns, or at the same time.
func (c *Client) Stop(ctx context.Context) error {
	_, err := c.ask(ctx, message{op: opStop})
	return err
}

// Exits tells the end of every started domain, in order, and is closed when
// the creator has ended. Nothing is lost while nobody reads.
func (c *Client) Exits() <-chan Exit { return c.exits }

// Close shuts the channel down, also for a process that shares it: the creator
// kills all domains and ends. (A process that merely ends shuts nothing down.)
func (c *Client) Close() error {
	return c.raw.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_RDWR) })
}

// number is that of the next request.
//
// Preconditions: c.mu is held, or nobody else has c.
func (c *Client) number() uint32 {
	c.seq = max(c.seq+1, 1) // not 0
	return c.seq
}

// post sends a message, in its turn.
//
// Preconditions: c.mu is not held: the creator reads nothing while it waits until what
// it has said is read.
func (c *Client) post(ctx context.Context, m message, files ...*os.File) error {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	var sent error
	err := c.raw.Control(func(fd uintptr) { sent = sendUntil(ctx, int(fd), m, files...) })
	if err = errors.Join(err, sent); err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", ErrGone, err)
	}
	return err
}

func (c *Client) ask(ctx context.Context, m message, files ...*os.File) (answer, error) {
	ch := make(chan answer, 1)
	c.mu.Lock()
	if c.waiting == nil {
		c.mu.Unlock()
		return answer{}, ErrGone
	}
	m.seq = c.number()
	c.waiting[m.seq] = ch
	c.mu.Unlock()
	if err := c.post(ctx, m, files...); err != nil {
		c.mu.Lock()
		delete(c.waiting, m.seq)
		c.mu.Unlock()
		return answer{}, err
	}
	select {
	case a, ok := <-ch:
		if !ok {
			return answer{}, ErrGone
		}
		if a.op == opFailed && a.arg == failedByQuota {
			return answer{}, fmt.Errorf("%w: %s", ErrQuota, a.text)
		}
		if a.op == opFailed {
			return answer{}, errors.New(a.text)
		}
		return a, nil
	case <-ctx.Done():
		c.mu.Lock()
		if c.waiting != nil {
			delete(c.waiting, m.seq)
		}
		c.mu.Unlock()
		select {
		case a := <-ch: // it came just now
			closeFiles(a.files)
		default:
		}
		return answer{}, ctx.Err()
	}
}

// read distributes answers until the channel ends or the creator misbehaves.
func (c *Client) read() {
	for {
		m, files, err := receive(c.fd)
		if err != nil {
			break
		}
		c.mu.Lock()
		if m.op == opExited || m.op == opHit {
			c.notice(m)
			c.mu.Unlock()
			closeFiles(files)
			continue
		}
		if c.again != 0 && m.seq == c.again {
			c.toldAgain(m.op != opDone)
		}
		ch, ok := c.waiting[m.seq]
		delete(c.waiting, m.seq)
		if ok {
			ch <- answer{m, files}
		}
		c.mu.Unlock()
		if !ok {
			closeFiles(files)
		}
	}
	c.mu.Lock()
	c.toldAgain(true)
	for _, ch := range c.waiting {
		close(ch)
	}
	c.waiting = nil
	c.ended = true
	c.more.Signal()
	c.toSay.Signal()
	close(c.hits)
	c.conn.Close()
	c.mu.Unlock()
}

// exited notes the end of a domain.
//
// Preconditions: c.mu is held.
func (c *Client) exited(m message) {
	c.queue = append(c.queue, Exit{Domain: abi.DomainID(m.domain), PID: int(m.pid), Status: syscall.WaitStatus(m.arg), Refused: m.cgroup, Number: numberOf(&m)})
	c.more.Signal()
}

// deliver hands exits on at the reader's pace.
func (c *Client) deliver() {
	defer close(c.exits)
	for {
		c.mu.Lock()
		for len(c.queue) == 0 && !c.ended {
			c.more.Wait()
		}
		if len(c.queue) == 0 {
			c.mu.Unlock()
			return
		}
		e := c.queue[0]
		c.queue = c.queue[1:]
		c.mu.Unlock()
		c.exits <- e
	}
}
