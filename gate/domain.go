package gate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
)

// NamesInterface is the interface of the name server (proto/ward/v1/names.proto).
const NamesInterface = "ward.v1.Names"

// OpenOption changes how a gate is opened.
type OpenOption func(*openOptions)

type openOptions struct {
	server string
	wait   bool
}

// At names the server instead of looking it up.
func At(server string) OpenOption { return func(o *openOptions) { o.server = server } }

// Wait makes Open wait, as long as its context lasts, until a domain serves the
// interface that the policy lets this one call. If it lets it call none, Open
// does not wait for what cannot come.
func Wait() OpenOption { return func(o *openOptions) { o.wait = true } }

// Open opens a gate to an interface, named in full: it asks the name server
// whether it is served, and then the monitor for the gate, who knows which of
// the servers the policy lets this domain call. A refusal is an *Error that is
// Denied, with the reason; Reason is ReasonNotRunning if there are servers that
// this domain may call, but none serves now.
func (d *Domain) Open(ctx context.Context, iface string, opts ...OpenOption) (*Client, error) {
	var o openOptions
	for _, f := range opts {
		f(&o)
	}
	if o.server != "" || iface == NamesInterface {
		return d.open(ctx, iface, o.server)
	}
	q := lookup{iface: iface, wait: o.wait}
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		_, published, err := d.lookup(ctx, q)
		if err != nil {
			e := *AsError(err)
			e.Message = "open " + iface + ": " + e.Message
			return nil, &e
		}
		c, err := d.open(ctx, iface, "")
		if err == nil || !o.wait || AsError(err).Reason != abi.ReasonNotRunning {
			return c, err
		}
		// Who serves is none that this domain may call. Those who come between a
		// lookup and the monitor's answer count for the next.
		q.after, q.numbered = published, true
		if err := rest(ctx, pause); err != nil {
			return nil, contextError(ctx)
		}
	}
}

// While Open waits, it rests between one refusal and the next lookup, longer each
// time: else a domain that publishes and withdraws the interface again and again
// would make it ask the monitor as often, and fill the audit with refusals.
const (
	firstPause = 2 * time.Millisecond
	lastPause  = time.Second
)

// rest waits for d, or until ctx ends, and then returns an error.
var rest = func(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *Domain) open(ctx context.Context, iface, server string) (*Client, error) {
	what := "open " + iface
	if server != "" {
		what += " at " + server
	}
	return d.openBy(ctx, what, abi.Control{Op: abi.OpOpen, Interface: iface, Name: server})
}

// openBy asks the monitor for a gate.
func (d *Domain) openBy(ctx context.Context, what string, request abi.Control) (*Client, error) {
	a, err := d.ask(ctx, request)
	if err != nil {
		e := *AsError(err)
		e.Message = what + ": " + e.Message
		return nil, &e
	}
	if a.Op == abi.OpRefused {
		a.close()
		return nil, refusal(what, d.name, &a.Control)
	}
	if a.Op != abi.OpGate {
		a.close()
		return nil, &Error{Code: Internal, Message: fmt.Sprintf("%s: the monitor answered with message %d and %d descriptors", what, a.Op, len(a.fds))}
	}
	e, err := d.end(&a)
	if err != nil {
		return nil, err
	}
	client, err := NewClient(e)
	if err == nil {
		d.remember(client)
	}
	return client, err
}

// Lookup returns the names of the domains that serve an interface now. If there
// is none it waits, as long as ctx lasts, or returns a NotFound error.
func (d *Domain) Lookup(ctx context.Context, iface string, wait bool) ([]string, error) {
	servers, _, err := d.lookup(ctx, lookup{iface: iface, wait: wait})
	return servers, err
}

// A lookup is a ward.v1.LookupRequest.
type lookup struct {
	iface    string
	wait     bool
	after    uint64 // publications up to this do not count
	numbered bool   // there is an after, and the answer has the number of the last publication
}

func (d *Domain) lookup(ctx context.Context, q lookup) (servers []string, published uint64, err error) {
	b := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), q.iface)
	if q.wait {
		b = protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), 1)
	}
	if q.numbered {
		b = protowire.AppendVarint(protowire.AppendTag(b, 3, protowire.VarintType), q.after)
	}
	reply, err := d.callNames(ctx, "Lookup", b)
	if err != nil {
		return nil, 0, err
	}
	err = fields(reply, func(num protowire.Number, v uint64, s []byte) error {
		switch num {
		case 1:
			servers = append(servers, string(s))
		case 2:
			published = v
		}
		return nil
	})
	if err != nil || q.numbered && published <= q.after {
		return nil, 0, &Error{Code: Internal, Message: "the name server's answer is malformed"}
	}
	return servers, published, nil
}

// callNames calls the name server over a gate that is opened when it is first needed.
// If that gate ends, the name server is perhaps a new one: it is asked once more.
func (d *Domain) callNames(ctx context.Context, method string, request []byte) ([]byte, error) {
	reply, c, err := d.callNamesOnce(ctx, method, request)
	if err != nil && c != nil && c.Err() != nil && ctx.Err() == nil {
		reply, _, err = d.callNamesOnce(ctx, method, request)
	}
	return reply, err
}

func (d *Domain) callNamesOnce(ctx context.Context, method string, request []byte) ([]byte, *Client, error) {
	d.mu.Lock()
	c := d.names
	d.mu.Unlock()
	if c == nil || c.Err() != nil {
		opened, err := d.open(ctx, NamesInterface, "")
		if err != nil {
			return nil, nil, err
		}
		d.mu.Lock()
		if d.names == nil || d.names.Err() != nil {
			d.names = opened
		} else {
			defer opened.Close()
		}
		c = d.names
		d.mu.Unlock()
	}
	reply, err := c.Invoke(ctx, method, request, nil)
	if err != nil {
		return nil, c, err
	}
	return reply, c, nil
}

// DialSocket opens a gate from a program outside Ward: path is the socket of an
// export in system.yaml. The monitor learns from the kernel who connects.
func DialSocket(ctx context.Context, path string) (*Client, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", path, os.NewSyscallError("socket", err))
	}
	kept := false
	defer func() {
		if !kept {
			unix.Close(fd)
		}
	}()
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		e := &Error{Code: Unavailable, Message: fmt.Sprintf("dial %s: %v: is the system up, and does it export the interface there?", path, err)}
		if errors.Is(err, unix.EACCES) {
			e = &Error{Code: PermissionDenied, Message: fmt.Sprintf("dial %s: %v", path, err)}
		}
		return nil, e
	}
	// A monitor that does not answer must not hold the caller beyond ctx.
	stop := context.AfterFunc(ctx, func() { unix.Shutdown(fd, unix.SHUT_RDWR) })
	a, err := readControl(fd)
	if !stop() && ctx.Err() != nil {
		a.close()
		return nil, contextError(ctx)
	}
	if err != nil {
		return nil, &Error{Code: Unavailable, Message: fmt.Sprintf("dial %s: no answer from the monitor: %v", path, err)}
	}
	if a.Op == abi.OpRefused {
		a.close()
		return nil, refusal("dial "+path, whoAmI(), &a.Control)
	}
	if a.Op != abi.OpGate || len(a.fds) != 2 {
		a.close()
		return nil, &Error{Code: Internal, Message: fmt.Sprintf("dial %s: message %d with %d descriptors instead of a gate", path, a.Op, len(a.fds))}
	}
	defer unix.Close(a.fds[1])
	c, err := NewClient(End{Interface: a.Interface, Socket: a.fds[0], Page: a.fds[1], Block: a.Block, Peer: a.Peer,
		Methods: a.Methods, Metadata: a.Metadata, Policies: a.Policies})
	if err == nil {
		c.link.outside, kept = fd, true // the monitor says there why it revokes the gate
	}
	return c, err
}

func whoAmI() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprintf("user %d", os.Getuid())
}
