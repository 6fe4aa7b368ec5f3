package gate

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/kernel/packet"
)

// An inbox is a mailbox as its reader has it: the reading ends of its writers'
// gates, each of which the monitor has, too. Nothing here may change what they
// share: they are neither shut down nor made non-blocking.
type inbox struct {
	domain *Domain
	name   string
	wake   int // eventfd: somebody has come, or it is over

	open     context.Context // until close
	end      context.CancelFunc
	renewals atomic.Int64 // since who asks again has begun; 0: nobody does

	mu     sync.Mutex
	known  map[uint64]bool // sockets that are here, by inode: after the monitor has died they come again
	come   []*letterbox    // and are not read from yet
	err    error           // why it is over
	closed bool
}

// A letterbox is the reading end of one writer's gate.
type letterbox struct {
	link  // not in use as one: it has no page, and is never shut down
	inode uint64
}

// Receive reads a mailbox, named as in system.yaml: handle is called for one
// message after the other with the method, without package and service, and the
// encoded message, which it may keep. PeerFrom(ctx) says who posted it, as the
// monitor knows. Of one writer messages come in the order in which it posted
// them, those of its earlier processes first.
//
// Each message is taken off its queue right before handle is called: if this
// program ends in handle, that message is gone, and all others wait for its
// next process. So each is handled at most once.
//
// Receive returns nil when ctx ends, and the error of handle when it returns
// one; the message is gone then, too. It returns an error when the control channel
// is lost: writers that come after that could not be heard. A program receives from a mailbox once at
// a time.
func (d *Domain) Receive(ctx context.Context, mailbox string, handle func(ctx context.Context, method string, message []byte) error) error {
	in, err := d.newInbox(mailbox)
	if err != nil {
		return err
	}
	defer in.close()
	if err := in.ask(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer context.AfterFunc(ctx, in.signal)()
	return in.serve(ctx, handle)
}

func (d *Domain) newInbox(mailbox string) (*inbox, error) {
	wake, err := newEvent()
	if err != nil {
		return nil, fmt.Errorf("receive from %s: %w", mailbox, err)
	}
	in := &inbox{domain: d, name: mailbox, wake: wake, known: map[uint64]bool{}}
	in.open, in.end = context.WithCancel(context.Background())
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inboxes[mailbox] != nil {
		in.end()
		unix.Close(wake)
		return nil, Errorf(FailedPrecondition, "receive from %s: this program does already", mailbox)
	}
	if d.inboxes == nil {
		d.inboxes = map[string]*inbox{}
	}
	d.inboxes[mailbox] = in
	return in, nil
}

// ask asks the monitor for the reading ends.
func (in *inbox) ask(ctx context.Context) error {
	what := "receive from " + in.name
	a, err := in.domain.ask(ctx, abi.Control{Op: abi.OpReceive, Name: in.name})
	if err != nil {
		e := *AsError(err)
		e.Message = what + ": " + e.Message
		return &e
	}
	a.close()
	if a.Op == abi.OpOK {
		return nil
	}
	e := refusal(what, in.domain.name, &a.Control)
	if a.Reason == abi.ReasonDefault {
		e.Message = fmt.Sprintf("%s: default deny: no policy lets %s read a mailbox of this name", what, in.domain.name)
	}
	return e
}

// renew asks again after the monitor was replaced. One at a time does it: if there
// is another monitor meanwhile, that one begins again.
func (in *inbox) renew() {
	if in.renewals.Add(1) > 1 {
		return
	}
	for n := int64(0); !in.renewals.CompareAndSwap(n, 0); {
		n = in.renewals.Load()
		in.askAgain()
	}
}

// askAgain tries until the monitor has answered, or the reading has ended: a
// monitor may take any time to come, and nobody else says who reads.
func (in *inbox) askAgain() {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		ctx, cancel := context.WithTimeout(in.open, republish)
		err := in.ask(ctx)
		cancel()
		if err == nil || in.open.Err() != nil || in.domain.isLost() {
			return
		}
		if code := AsError(err).Code; code != Unavailable && code != DeadlineExceeded {
			in.fail(err)
			return
		}
		rest(in.open, pause)
	}
}

// deliver takes the reading end of a writer's gate.
func (d *Domain) deliver(a *answer) {
	d.mu.Lock()
	in := d.inboxes[a.Name]
	d.mu.Unlock()
	if in == nil || len(a.fds) != 1 {
		a.close()
		return
	}
	b := &letterbox{link: link{End: End{Interface: a.Interface, Socket: a.fds[0], Page: -1, Peer: a.Peer, Methods: a.Methods, Metadata: a.Metadata}}}
	var st unix.Stat_t
	if err := unix.Fstat(b.Socket, &st); err != nil {
		slog.Error("a writer's messages cannot be read", "mailbox", in.name, "writer", a.Peer.Name, "error", err)
		a.close()
		return
	}
	b.inode = st.Ino
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed || in.known[b.inode] {
		a.close()
		return
	}
	in.known[b.inode] = true
	in.come = append(in.come, b)
	signalEvent(in.wake)
}

// signal wakes the reader.
func (in *inbox) signal() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.closed {
		signalEvent(in.wake)
	}
}

// fail ends Receive with an error.
func (in *inbox) fail(err error) {
	in.mu.Lock()
	in.err = cmp.Or(in.err, err)
	in.mu.Unlock()
	in.signal()
}

// close ends the reading. The queues stay as they are: only descriptors go.
func (in *inbox) close() {
	in.end()
	in.domain.mu.Lock()
	delete(in.domain.inboxes, in.name)
	in.domain.mu.Unlock()
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
	for _, b := range in.come {
		unix.Close(b.Socket)
	}
	unix.Close(in.wake)
}

// arrivals takes what has come.
func (in *inbox) arrivals() ([]*letterbox, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	come := in.come
	in.come = nil
	return come, in.err
}

// serve reads until ctx ends.
func (in *inbox) serve(ctx context.Context, handle func(context.Context, string, []byte) error) error {
	var boxes []*letterbox // as the monitor opened them, those of a writer's earlier processes first
	defer func() {
		for _, b := range boxes {
			unix.Close(b.Socket)
		}
	}()
	buf := receiving.Get().(*buffer)
	defer buf.free()
	for ctx.Err() == nil {
		come, err := in.arrivals()
		boxes = append(boxes, come...)
		if err != nil {
			return err
		}
		ready, err := in.wait(boxes)
		if err != nil {
			return err
		}
		for _, r := range ready {
			open := true
			for taken := 0; open && ctx.Err() == nil && (taken == 0 || r.left); taken++ {
				if open, err = r.take(ctx, buf, handle); err != nil {
					return err
				}
			}
			if !open {
				boxes = slices.DeleteFunc(boxes, func(b *letterbox) bool { return b == r.letterbox })
				in.forget(r.letterbox)
			}
		}
	}
	return nil
}

func (in *inbox) forget(b *letterbox) {
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.known, b.inode)
	unix.Close(b.Socket)
}

// readable is a letterbox with something to read, or whose writer has left. In
// the latter case all that waits is read before anything of another box: so a
// writer's next process does not overtake it.
type readable struct {
	*letterbox
	left bool
}

// wait waits until something can be read. The last come are looked at first: if
// a writer's new process has posted, its old one is seen to have left.
func (in *inbox) wait(boxes []*letterbox) ([]readable, error) {
	fds := make([]unix.PollFd, 0, len(boxes)+1)
	for _, b := range slices.Backward(boxes) {
		fds = append(fds, unix.PollFd{Fd: int32(b.Socket), Events: unix.POLLIN})
	}
	fds = append(fds, unix.PollFd{Fd: int32(in.wake), Events: unix.POLLIN})
	for {
		if _, err := unix.Ppoll(fds, nil, nil); err == unix.EINTR {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("receive from %s: ppoll: %w", in.name, err)
		}
		break
	}
	if fds[len(boxes)].Revents != 0 {
		var b [8]byte
		unix.Read(in.wake, b[:])
	}
	var ready []readable
	for i, b := range boxes {
		if got := fds[len(boxes)-1-i].Revents; got != 0 {
			ready = append(ready, readable{b, got&unix.POLLHUP != 0})
		}
	}
	return ready, nil
}

// take takes one message, if there is one, and has it handled. It reports
// whether there may be more.
func (b *letterbox) take(ctx context.Context, buf *buffer, handle func(context.Context, string, []byte) error) (open bool, err error) {
	n, err := packet.Recv(b.Socket, buf.b, dontWait)
	switch {
	case err == unix.EAGAIN, err == unix.EINTR, err == unix.ECONNRESET:
		return true, nil
	case err != nil:
		return false, fmt.Errorf("messages of %s: recvfrom: %w", b.Peer.Name, err)
	case n == 0:
		return false, nil
	case n > len(buf.b):
		return false, fmt.Errorf("messages of %s: one is longer than %d bytes", b.Peer.Name, len(buf.b))
	}
	m, err := parse(buf.b[:n])
	if err == nil && (m.Kind != abi.KindCall || m.denied || int64(m.Method) >= int64(len(b.Methods))) {
		err = fmt.Errorf("a message of kind %d and method %d", m.Kind, m.Method)
	}
	if err != nil {
		return false, &Error{Code: Internal, Message: fmt.Sprintf("messages of %s for %s: %v", b.Peer.Name, b.Interface, err)}
	}
	_, body, err := b.split(m.Flags, buf.b[abi.HeaderSize:n])
	if err != nil {
		return false, &Error{Code: Internal, Message: fmt.Sprintf("messages of %s for %s: %v", b.Peer.Name, b.Interface, err)}
	}
	return true, handle(context.WithValue(ctx, peerKey{}, &b.Peer), b.Methods[m.Method].Name, slices.Clone(body))
}
