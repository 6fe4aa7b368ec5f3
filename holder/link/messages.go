package link

import (
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"sync"
	"time"
)

// Kind is the first byte of a message between the monitor and the holder.
type Kind byte

const (
	// From the monitor to the holder.
	Put   Kind = 1 // NAME, 0, value; descriptors: keep them for the next monitor, in place of what has this name
	Bound Kind = 3 // text: path of a socket; remove it at the end if the monitor could not
	Ready Kind = 4 // all domains are started
	Fatal Kind = 5 // text: why the system stops
	Done  Kind = 6 // status (1 byte): the domains have ended, the monitor ends

	Drop Kind = 7 // NAME: of what need not be kept any more
	// Start the processes of wardd again, of the program that stands where this one was started from.
	Upgrade Kind = 8

	Grace Kind = 9 // GraceText: the longest time of grace of a domain from now on

	// From the holder to the monitor.
	Stop    Kind = 16 // begin the ordered stop
	Kept    Kind = 17 // what was kept, right after the start: as Put, with descriptors
	Many    Kind = 21 // likewise, several without descriptors (Pack)
	Whole   Kind = 18 // that was all
	Renewed Kind = 19 // "creator", with a descriptor: a new channel to a new one; "audit": there is a new writer at the old channel
	Refused Kind = 22 // text: why no upgrade is made
	Orphan  Kind = 20 // PID and wait status of a domain whose end no creator could tell
)

// MaxMessage is the longest message between the monitor and the holder, in bytes.
const MaxMessage = 16<<10 + 1

// answer is how long one side waits for the other to read. The holder and the
// monitor are always ready to read; a longer wait means that the other has died.
const answer = 5 * time.Second

// MaxGrace is the longest time of grace of which a holder takes note: the longest that
// system.yaml can state.
const MaxGrace = time.Hour

// GraceText is a time of grace in a message.
func GraceText(grace time.Duration) string { return strconv.FormatInt(int64(grace), 10) }

// GraceOf reads it; 0: there is none. Whoever it comes from, it is MaxGrace at most.
func GraceOf(text string) time.Duration {
	ns, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return min(time.Duration(ns), MaxGrace)
}

// Tell sends a message of one kind with a text, which is cut to fit.
func (c *Conn) Tell(k Kind, text string, files ...*os.File) error {
	msg := append([]byte{byte(k)}, text[:min(len(text), MaxMessage-1)]...)
	return c.Send(msg, answer, files...)
}

// Hand is Tell with an end of another connection, which stays the caller's, too.
func (c *Conn) Hand(k Kind, text string, end *Conn) error {
	f, err := end.File()
	if err != nil {
		return err
	}
	defer f.Close()
	return c.Tell(k, text, f)
}

// buffers are for Hear: who takes over hears thousands of messages at once.
var buffers = sync.Pool{New: func() any { return new([MaxMessage]byte) }}

// Hear receives a message that was sent by Tell.
func (c *Conn) Hear() (Kind, string, []*os.File, error) {
	buf := buffers.Get().(*[MaxMessage]byte)
	defer buffers.Put(buf)
	n, files, err := c.Recv(buf[:], MaxFiles)
	if err != nil {
		return 0, "", nil, err
	}
	return Kind(buf[0]), string(buf[1:n]), files, nil
}

// A Message is one that was sent by Tell.
type Message struct {
	Kind  Kind
	Text  string
	Files []*os.File // the receiver closes them
}

// Messages receives what was sent by Tell until the connection ends; then the
// channel is closed.
func (c *Conn) Messages() <-chan Message {
	all := make(chan Message)
	go func() {
		defer close(all)
		for {
			k, text, files, err := c.Hear()
			if err != nil {
				return
			}
			all <- Message{k, text, files}
		}
	}()
	return all
}

// Pack appends a text to those of one message, or reports that there is no room.
func Pack(all, text string) (string, bool) {
	if len(all)+4+len(text) > MaxMessage-1 {
		return all, false
	}
	return all + string(binary.LittleEndian.AppendUint32(nil, uint32(len(text)))) + text, true
}

// Unpack returns the texts that were packed.
func Unpack(all string) (texts []string, err error) {
	for len(all) > 0 {
		if len(all) < 4 {
			return nil, errPacked
		}
		n := uint64(binary.LittleEndian.Uint32([]byte(all[:4])))
		if all = all[4:]; n > uint64(len(all)) {
			return nil, errPacked
		}
		texts, all = append(texts, all[:n]), all[n:]
	}
	return texts, nil
}

var errPacked = errors.New("malformed message of several texts")
