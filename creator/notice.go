package creator

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
)

// What the creator tells unasked, a limit that a domain ran into or its end, nobody
// else knows. Whoever reads it may die before it is kept anywhere. So it has a
// number, and the creator tells it again to whoever takes over the channel, until it
// hears that it was acted on. The numbers grow, over all creators of a system too:
// who has acted on one knows it when it comes again.

const (
	opHeard op = 10 // text: numbers of what was acted on. It is not answered
	opAgain op = 11 // tell again what was not; it is answered before that
)

func init() {
	requests[opHeard] = request{text: true, do: (*creator).heard}
	requests[opAgain] = request{do: (*creator).tellAgain}
}

// maxNotices bounds those that nobody acted on; of more the first are told once
// only. A domain causes seven a second at most, and nobody has more than one end.
const maxNotices = 4096

// numberSize is the size of a number, in the text of a message: little endian.
const numberSize = 8

// notices are what was told and may have to be told again, in order.
type notices struct {
	list []message
	last uint64 // number
}

// tell tells something unasked, and keeps it.
func (c *creator) tell(m message) error {
	n := &c.notices
	now, err := bootTime()
	if err != nil {
		return fmt.Errorf("creator: %w", err)
	}
	n.last = max(n.last+1, now)
	m.text = string(binary.LittleEndian.AppendUint64(nil, n.last))
	n.list = append(n.list[max(0, len(n.list)-maxNotices+1):], m)
	return send(c.fd, m)
}

// heard forgets what was acted on. A number that is not there is of a creator before
// this one.
func (c *creator) heard(m message, _ []*os.File) (bool, error) {
	if m.text == "" || len(m.text)%numberSize != 0 {
		return false, fmt.Errorf("creator: %w: %d bytes of numbers", errMessage, len(m.text))
	}
	for text := m.text; text != ""; text = text[numberSize:] {
		number := text[:numberSize]
		c.notices.list = slices.DeleteFunc(c.notices.list, func(m message) bool { return m.text == number })
	}
	return false, nil
}

// tellAgain tells what nobody is known to have acted on.
func (c *creator) tellAgain(m message, _ []*os.File) (bool, error) {
	if err := send(c.fd, message{op: opDone, seq: m.seq}); err != nil {
		return false, err
	}
	for _, n := range c.notices.list {
		if err := send(c.fd, n); err != nil {
			return false, err
		}
	}
	return false, nil
}

// numberOf is the number of what was told unasked; 0: it has none.
func numberOf(m *message) uint64 {
	if len(m.text) != numberSize {
		return 0
	}
	return binary.LittleEndian.Uint64([]byte(m.text))
}

// Takeover is NewClient for a channel that somebody before had, who has died: what
// that one was told and may not have acted on is told again, in order.
func Takeover(conn *os.File) *Client {
	c := newClient(conn)
	c.again, c.early = c.number(), []message{}
	again := message{op: opAgain, seq: c.again}
	c.run() // first: the creator reads nothing while it waits until what it has said is read
	if err := c.post(context.Background(), again); err != nil {
		c.mu.Lock()
		c.toldAgain(true) // the creator has died: what it said last is there still, and nobody says it again
		c.mu.Unlock()
	}
	return c
}

// notice takes what the creator told unasked. What comes before the answer of
// tellAgain comes after it once more, in its place among what is older. If the
// creator dies first, that is all there is.
//
// Preconditions: c.mu is held.
func (c *Client) notice(m message) {
	c.numbers = c.numbers || numberOf(&m) != 0
	if c.again != 0 && numberOf(&m) != 0 {
		c.early = append(c.early, m)
		return
	}
	switch m.op {
	case opExited:
		c.exited(m)
	case opHit:
		c.hit(m)
	}
}

// toldAgain ends that; it says whether what came early is not told again.
//
// Preconditions: c.mu is held.
func (c *Client) toldAgain(lost bool) {
	early := c.early
	c.again, c.early = 0, nil
	if lost {
		for _, m := range early {
			c.notice(m)
		}
	}
}

// Heard says that somebody has acted on what the creator told under this number, and
// has kept what must outlive it: it is not told again. 0 is no number. A creator that has
// told no number yet is not bothered: it may be of a version that knows none.
func (c *Client) Heard(number uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if number == 0 || !c.numbers {
		return
	}
	c.acted = binary.LittleEndian.AppendUint64(c.acted, number)
	c.toSay.Signal()
}

// say tells the creator what was acted on. It is done by a goroutine of its own,
// because the creator may read nothing while it tells much.
func (c *Client) say() {
	for {
		c.mu.Lock()
		for len(c.acted) == 0 && !c.ended {
			c.toSay.Wait()
		}
		n := min(len(c.acted), maxText/numberSize*numberSize)
		numbers := string(c.acted[:n])
		c.acted = c.acted[n:]
		over := c.ended
		c.mu.Unlock()
		if over {
			return
		}
		if c.post(context.Background(), message{op: opHeard, seq: 1, text: numbers}) != nil {
			return // it has died, and nobody says it again
		}
	}
}
