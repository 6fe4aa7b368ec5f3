package gate

import (
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/kernel/page"
)

// End is one end of a gate as the monitor hands it over. Programs get theirs
// from a Domain or from DialSocket; tests and benchmarks make their own.
type End struct {
	Interface string // full name of the protobuf service
	Socket    int    // descriptor; NewClient and ServeEnd take it over
	Page      int    // descriptor of the verdict page, not taken over; -1: there is no filter, nothing is denied
	Block     uint32 // the end's block on the page
	Peer      abi.Peer
	Methods   []abi.ControlMethod // by ordinal
	Metadata  []string            // key i is field i+1 of the metadata section
	Policies  []string            // @id by index, as far as this end may know them
	Check     *Check              // what this library decides on; nil: the kernel does
	domain    *Domain             // whose end it is; nil: of a program outside Ward, or a test
}

// link is an End in use: its socket and its block of the verdict page. They
// are closed when the last user has left.
type link struct {
	End
	verdicts *page.Block // nil: no filter
	event    int         // eventfd that wakes whoever waits in poll; -1 if none could be made
	ordinals map[string]uint32
	keys     map[string]uint32 // metadata: field numbers
	refs     atomic.Int64      // users, plus ended once close was called
	sends    abi.Direction     // that of this end's messages
	pending  pendingTable      // of a client's end with a Check
	released sync.Once
	told     chan struct{} // closed when the monitor has said why the gate was revoked: in why; nil: it says nothing here
	why      *Error
	cut      atomic.Bool // of a server's end: it was revoked when it was closed
	outside  int         // the connection of a program outside Ward, on which the monitor says it; -1: none
	heard    sync.Once
}

const ended = math.MinInt64

func newLink(e End) (*link, error) {
	l := &link{End: e, event: -1, outside: -1, ordinals: map[string]uint32{}, keys: map[string]uint32{}}
	if e.Page >= 0 {
		b, err := page.Map(e.Page, e.Block)
		if err != nil {
			unix.Close(e.Socket)
			return nil, fmt.Errorf("gate for %s: %w", e.Interface, err)
		}
		l.verdicts = b
	}
	// The library reads with blocking system calls.
	if err := unix.SetNonblock(e.Socket, false); err != nil {
		unix.Close(e.Socket)
		return nil, fmt.Errorf("gate for %s: %w", e.Interface, os.NewSyscallError("fcntl", err))
	}
	for i, m := range e.Methods {
		l.ordinals[m.Name] = uint32(i)
	}
	if e.Check != nil {
		e.Check.at(&l.End)
	}
	for i, k := range e.Metadata {
		l.keys[strings.ToLower(k)] = uint32(i + 1)
	}
	return l, nil
}

// enter counts a user of the socket. It reports false if the link is closing.
func (l *link) enter() bool {
	if l.refs.Add(1) > 0 {
		return true
	}
	l.leave()
	return false
}

// closing reports whether close was called.
func (l *link) closing() bool { return l.refs.Load() < 0 }

func (l *link) leave() {
	if l.refs.Add(-1) == ended {
		l.released.Do(l.release) // a failed enter passes here again
	}
}

// close ends the gate for both sides: whoever blocks in it wakes up, here and
// there. The descriptors go when the last user has left.
func (l *link) close() {
	for {
		n := l.refs.Load()
		if n < 0 {
			return
		}
		if l.refs.CompareAndSwap(n, n+1+ended) {
			unix.Shutdown(l.Socket, unix.SHUT_RDWR)
			l.leave()
			return
		}
	}
}

func (l *link) release() {
	unix.Close(l.Socket)
	if l.event >= 0 {
		unix.Close(l.event)
	}
	if l.outside >= 0 {
		unix.Close(l.outside)
	}
	if l.verdicts != nil {
		l.verdicts.Close()
	}
}

// revoked reports whether the monitor has revoked the gate.
func (l *link) revoked() bool {
	return l.verdicts != nil && l.verdicts.Load(0)&abi.PageRevoked != 0
}

// verdict reads what the kernel decided about the message just sent. Sends for
// one slot must not overlap, or one overwrites the verdict of the other.
func (l *link) verdict(h *abi.Header) (abi.Reason, uint32) {
	if l.verdicts == nil || l.Check != nil {
		return abi.ReasonAdmit, 0
	}
	v := abi.VerdictWord(l.verdicts.Load(abi.PageSlots + int(h.Slot)))
	if v.Gen() == h.Gen && v.Kind() == h.Kind && v.Reason() != abi.ReasonNone {
		return v.Reason(), v.Detail()
	}
	// The filter gave up before it knew the slot.
	if l.revoked() {
		return abi.ReasonClosed, 0
	}
	return abi.ReasonSender, 0
}

// method names a method for people.
func (l *link) method(ordinal uint32) string {
	if int64(ordinal) < int64(len(l.Methods)) {
		return l.Interface + "/" + l.Methods[ordinal].Name
	}
	return fmt.Sprintf("%s/#%d", l.Interface, ordinal)
}
