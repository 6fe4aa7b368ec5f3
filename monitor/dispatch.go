package monitor

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"ward/abi"
)

// A channel is a domain's control channel: a link.Conn.
type channel interface {
	Recv(buf []byte, maxFiles int) (int, []*os.File, error)
	Try(msg []byte, files ...*os.File) error
	Control(func(fd uintptr)) error
	File() (*os.File, error)
	Close() error
}

// when says in which phases of the system an operation is permitted.
type when uint8

const (
	whileRunning  when = 1 << iota
	whileStopping      // the ordered stop has begun
)

// asked says when something may be asked, and who answers.
type asked struct {
	when   when
	answer func(*Monitor, *domain, *abi.Control)
}

// dispatch is all that a domain can ask. A message that is not in the table,
// or not a message, is a hostile act. One that comes at another time than
// permitted is refused: the domain cannot know that the system is stopping.
// What is asked about children and delegations comes beside it (spawn.go).
var dispatch = map[abi.ControlOp]asked{
	abi.OpOpen:    {whileRunning, (*Monitor).answerOpen},
	abi.OpServe:   {whileRunning, (*Monitor).answerServe},
	abi.OpUnserve: {whileRunning | whileStopping, (*Monitor).answerUnserve},
}

// listen reads the control channel of d until its end.
func (m *Monitor) listen(d *domain) {
	limit, kin := newBucket(controlRate, controlBurst), m.asksOf(d)
	buf := make([]byte, abi.MaxAsk)
	control := d.control
	for {
		n, _, err := control.Recv(buf, 0)
		if errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) {
			return // it has ended, or wants nothing any more
		}
		if !m.work.asked() {
			return
		}
		c, parseErr := abi.ParseControl(buf[:n])
		m.mu.Lock()
		alive := m.handle(d, &c, errors.Join(err, parseErr))
		turn := d.turn
		d.turn = nil
		m.mu.Unlock()
		m.work.done()
		awaitTurn(turn)
		if !alive {
			return
		}
		limit.spend(costOf(c.Op))
		if kin != nil {
			if wait := kin.owes(costOf(c.Op), time.Now()); wait > 0 {
				<-time.After(wait)
			}
		}
	}
}

// costOf is what a request takes of a domain's rate. Those about memory that goes
// on need no gate and no filter, and come for each handle.
func costOf(op abi.ControlOp) float64 {
	switch op {
	case abi.OpMake, abi.OpOffer, abi.OpRedeem, abi.OpDrop, abi.OpRetract:
		return objectCost
	}
	return 1
}

// handle answers one message of d, and reports whether d goes on.
//
// Preconditions: m.mu is held.
func (m *Monitor) handle(d *domain, c *abi.Control, err error) bool {
	if d.state != stateRunning {
		return false
	}
	entry, known := dispatch[c.Op]
	if err != nil || !known {
		m.hostile(d, "sent what is no request on its control channel")
		return false
	}
	if d.requests.again(c.Seq) {
		return true
	}
	phase := whileRunning
	if m.stopping {
		phase = whileStopping
	}
	if entry.when&phase == 0 {
		m.refuse(d, c.Seq, abi.ReasonNotRunning, abi.NoPolicy, "the system is stopping")
		return true
	}
	entry.answer(m, d, c)
	return d.state == stateRunning
}

// hostile ends a domain that breaks the rules of its control channel. The
// channel is closed at once, so that nothing more of it is read.
//
// Preconditions: m.mu is held.
func (m *Monitor) hostile(d *domain, what string) {
	d.control.Close()
	d.hostile = true
	m.failed = m.failed || d.def.Once
	d.told.add(noticeOf(d.id, "killed: it %s", what))
	m.keepTold(&d.told, func() { m.keepNow(d) })
	m.work.run(func() { m.kill(d) })
}

// refuse answers a request.
//
// Preconditions: m.mu is held.
func (m *Monitor) refuse(d *domain, seq uint32, r abi.Reason, policy uint32, text string) {
	m.answer(d, &abi.Control{Op: abi.OpRefused, Seq: seq, Reason: r, Detail: policy, Text: text})
}

// answer sends an answer, and reports whether it did. A domain that asks and does
// not read is hostile. If the kernel has too many descriptors on their way, of all
// that the monitor gives to anybody, a request whose answer has some is refused:
// that is not this domain's doing.
func (m *Monitor) answer(d *domain, c *abi.Control, files ...*os.File) bool {
	err := d.send(c, files...)
	switch {
	case err == nil:
		return true
	case errors.Is(err, syscall.ETOOMANYREFS) && len(files) > 0:
		m.notice(d.id, "an answer with descriptors cannot be sent: the kernel has too many of them on their way, which domains have not read yet")
		m.refuse(d, c.Seq, abi.ReasonQuota, abi.NoPolicy, "too many descriptors are on their way to domains of this system: try again")
		return false
	case errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET), errors.Is(err, os.ErrClosed):
		return false // it has just ended
	}
	m.hostile(d, "does not read the answers on its control channel")
	return false
}

// A bucket bounds a rate: burst at once, then rate a second.
type bucket struct {
	rate, burst, tokens float64
	last                time.Time
}

func newBucket(rate, burst float64) *bucket {
	return &bucket{rate, burst, burst, time.Now()}
}

// fill adds what has come since the last time.
func (b *bucket) fill() { b.fillAt(time.Now()) }

func (b *bucket) fillAt(now time.Time) {
	b.tokens = min(b.burst, b.tokens+b.rate*now.Sub(b.last).Seconds())
	b.last = now
}

// wait takes a token, and waits for one if it must: at most 1/rate seconds.
func (b *bucket) wait() { b.spend(1) }

// spend takes a part of a token likewise.
func (b *bucket) spend(n float64) {
	b.fill()
	if b.tokens -= n; b.tokens < 0 {
		<-time.After(time.Duration(-b.tokens / b.rate * float64(time.Second)))
	}
}

// take takes a token if there is one.
func (b *bucket) take() bool {
	b.fill()
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
