package gate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"ward/abi"
)

// A Domain is this program as a part of a running system: its control channel
// to the reference monitor, and its verdict page.
type Domain struct {
	name   string
	system string
	page   int
	checks *reports // this library checks what it receives, and reports it here; nil: the kernel checks

	sending sync.Mutex
	fd      int

	mu       sync.Mutex
	seq      uint32
	pending  map[uint32]chan answer
	services map[string]*Service
	clients  map[uint32]*Client // by block
	kin      *kindred           // processes.go
	asked    map[uint32][]byte  // what is pending
	names    *Client
	inboxes  map[string]*inbox   // mailboxes that are being read
	spare    map[string][][]byte // secret memory that nobody uses, by object
	err      error

	renewals atomic.Int64 // since who publishes again has begun; 0: nobody does
}

// answer is what the monitor answers to one request, with the descriptors that came along.
type answer struct {
	abi.Control
	fds []int
}

func (a *answer) close() {
	for _, fd := range a.fds {
		unix.Close(fd)
	}
	a.fds = nil
}

var self = sync.OnceValues(func() (*Domain, error) {
	text, ok := os.LookupEnv(abi.ControlEnv)
	if !ok {
		return nil, fmt.Errorf("this program was not started by Ward (%s is not set): list it under `domains:` in a system.yaml and run `ward up DIR`; a program outside Ward uses the socket of an export", abi.ControlEnv)
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd < 0 {
		return nil, fmt.Errorf("%s=%q is not the number of a descriptor", abi.ControlEnv, text)
	}
	return NewDomain(fd)
})

// Self returns the domain that this program runs as. It is made once; later
// calls return the same.
func Self() (*Domain, error) { return self() }

// NewDomain makes a domain of its control channel, and takes the descriptor
// over. Programs use Self; this is for those that play the monitor.
func NewDomain(fd int) (*Domain, error) {
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, false); err != nil {
		return nil, fmt.Errorf("control channel (descriptor %d): %w", fd, err)
	}
	hello, err := readControl(fd)
	if err != nil {
		return nil, fmt.Errorf("control channel: no greeting from the monitor: %w", err)
	}
	if hello.Op != abi.OpHello || len(hello.fds) > 2 {
		hello.close()
		return nil, fmt.Errorf("control channel: message %d with %d descriptors instead of a greeting", hello.Op, len(hello.fds))
	}
	d := &Domain{name: hello.Name, system: hello.System, page: -1, fd: fd,
		pending: map[uint32]chan answer{}, services: map[string]*Service{}, clients: map[uint32]*Client{}, kin: newKindred()}
	if len(hello.fds) > 0 { // without a page there are no filters: only tests do that
		d.page = hello.fds[0]
	}
	if len(hello.fds) == 2 {
		d.checks = &reports{fd: hello.fds[1]}
	}
	go d.listen()
	return d, nil
}

// Name is the domain's name in system.yaml.
func (d *Domain) Name() string { return d.name }

// System is the name of the system.
func (d *Domain) System() string { return d.system }

// readControl reads one message and its descriptors.
func readControl(fd int) (answer, error) {
	b := make([]byte, abi.MaxControl)
	oob := make([]byte, unix.CmsgSpace(4*4))
	for {
		n, oobn, flags, _, err := unix.Recvmsg(fd, b, oob, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR || err == unix.ECONNRESET { // reset, once: it ended with a request of ours unread; its answers are there still
			continue
		}
		if err != nil {
			return answer{}, os.NewSyscallError("recvmsg", err)
		}
		a := answer{}
		if msgs, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil {
			for i := range msgs {
				if fds, err := unix.ParseUnixRights(&msgs[i]); err == nil {
					a.fds = append(a.fds, fds...)
				}
			}
		}
		if n == 0 {
			a.close()
			return answer{}, io.EOF
		}
		if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
			a.close()
			return answer{}, errors.New("truncated message")
		}
		if a.Control, err = abi.ParseControl(b[:n]); err != nil {
			a.close()
			return answer{}, err
		}
		return a, nil
	}
}

// listen reads the control channel until the monitor is gone. Gates go on then.
func (d *Domain) listen() {
	for {
		a, err := readControl(d.fd)
		if err != nil {
			d.lost(err)
			return
		}
		if a.Op == abi.OpGate && a.Seq == 0 {
			d.accept(a)
			continue
		}
		if d.isRenewal(&a) {
			continue
		}
		if d.about(&a.Control) {
			a.close()
			continue
		}
		if a.Op == abi.OpRevoked {
			a.close()
			d.revoked(&a.Control)
			continue
		}
		d.mu.Lock()
		ch := d.pending[a.Seq]
		delete(d.pending, a.Seq)
		d.mu.Unlock()
		if ch == nil {
			a.close()
			continue
		}
		ch <- a
	}
}

// lost ends all requests to the monitor, now and later.
func (d *Domain) lost(err error) {
	e := &Error{Code: Unavailable, Message: "the reference monitor is gone: nothing new is granted"}
	if err != io.EOF {
		e.Message = fmt.Sprintf("control channel: %v", err)
	}
	d.mu.Lock()
	d.err = e
	for seq, ch := range d.pending {
		close(ch)
		delete(d.pending, seq)
	}
	inboxes := slices.Collect(maps.Values(d.inboxes))
	d.mu.Unlock()
	for _, in := range inboxes { // no other writer would be heard
		in.fail(&Error{Code: e.Code, Message: "receive from " + in.name + ": " + e.Message})
	}
}

// accept hands a new client's gate to its service.
func (d *Domain) accept(a answer) {
	if a.Access == abi.AccessRead { // of a mailbox
		d.deliver(&a)
		return
	}
	d.mu.Lock()
	s := d.services[a.Interface]
	d.mu.Unlock()
	e, err := d.end(&a)
	if err != nil {
		slog.Error("a gate of a client cannot be used", "interface", a.Interface, "error", err)
		return
	}
	if s == nil {
		unix.Close(e.Socket)
		return
	}
	s.accept(e)
}

// end makes an end of an answer, and takes its descriptors over.
func (d *Domain) end(a *answer) (End, error) {
	e := End{Interface: a.Interface, Page: d.page, Block: a.Block, Peer: a.Peer,
		Methods: a.Methods, Metadata: a.Metadata, Policies: a.Policies, domain: d}
	want := 1
	if d.checks != nil {
		want = 2
	}
	if len(a.fds) != want {
		a.close()
		return e, &Error{Code: Internal, Message: fmt.Sprintf("a gate for %s came with %d descriptors, not %d", a.Interface, len(a.fds), want)}
	}
	e.Socket = a.fds[0]
	if d.checks == nil {
		return e, nil
	}
	var err error
	e.Check, err = NewCheck(a.fds[1])
	unix.Close(a.fds[1])
	if err != nil {
		unix.Close(e.Socket)
		return e, &Error{Code: Internal, Message: fmt.Sprintf("a gate for %s: %v", a.Interface, err)}
	}
	e.Check.reports = d.checks
	return e, nil
}

// ask sends a request to the monitor and waits for the answer. A refusal comes
// back as an answer, not as an error.
func (d *Domain) ask(ctx context.Context, c abi.Control) (answer, error) {
	q, err := d.request(c)
	if err != nil {
		return answer{}, err
	}
	return d.await(ctx, q)
}

// A request was sent, and its answer is to be awaited.
type request struct {
	seq      uint32
	ch       chan answer // closed if there is none to come
	answered func()
}

// request sends a request to the monitor.
func (d *Domain) request(c abi.Control) (*request, error) {
	q := &request{ch: make(chan answer, 1)}
	d.mu.Lock()
	if d.err != nil {
		d.mu.Unlock()
		return nil, d.err
	}
	d.seq++
	if d.seq == 0 {
		d.seq = 1
	}
	q.seq = d.seq
	c.Seq = q.seq
	d.pending[q.seq] = q.ch
	d.mu.Unlock()

	b, err := c.AppendTo(nil)
	if err == nil {
		q.answered = d.asks(q.seq, b)
		if err = d.write(b); err != nil {
			q.answered()
		}
	}
	if err != nil {
		d.mu.Lock()
		delete(d.pending, q.seq)
		d.mu.Unlock()
		return nil, &Error{Code: Unavailable, Message: fmt.Sprintf("control channel: %v", err)}
	}
	return q, nil
}

// await waits for the answer to a request.
func (d *Domain) await(ctx context.Context, q *request) (answer, error) {
	defer q.answered()
	select {
	case a, ok := <-q.ch:
		if !ok {
			d.mu.Lock()
			defer d.mu.Unlock()
			return answer{}, d.err
		}
		return a, nil
	case <-ctx.Done():
		d.mu.Lock()
		_, waiting := d.pending[q.seq]
		delete(d.pending, q.seq)
		d.mu.Unlock()
		if !waiting {
			if a, ok := <-q.ch; ok {
				a.close()
			}
		}
		return answer{}, contextError(ctx)
	}
}

func (d *Domain) write(b []byte) error {
	d.sending.Lock()
	defer d.sending.Unlock()
	for {
		err := unix.Send(d.fd, b, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return os.NewSyscallError("sendto", err)
		}
	}
}

// refusal is the error of a request that the monitor refused. self is who asked.
func refusal(what, self string, c *abi.Control) *Error {
	e := &Error{Code: codeOf(c.Reason), Reason: c.Reason}
	switch c.Reason {
	case abi.ReasonDefault:
		e.Message = fmt.Sprintf("%s: default deny: no policy lets %s call it", what, self)
	case abi.ReasonForbid:
		e.Policy = c.Text
		e.Message = fmt.Sprintf("%s: forbidden by policy %q", what, c.Text)
	default:
		e.Message = what + ": " + c.Reason.String()
		if c.Text != "" {
			e.Message = what + ": " + c.Text
		}
	}
	return e
}
