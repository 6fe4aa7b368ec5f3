package gate_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
	"ward/gate"
	"ward/image"
	"ward/kernel"
)

// A classicGate is a gate of the level library. None of it needs root.
type classicGate struct {
	ends    [2]gate.End // client, server
	reports [2]*kernel.Reports
	gate    *kernel.ClassicGate
}

// restrictedImage is testImage as Part takes it: its replies are restricted.
func restrictedImage() *image.Image {
	img := testImage()
	for i := range img.Domains {
		img.Domains[i].Ring.Name = "user"
	}
	return img
}

// classicImage is the same with replies that are not: errors are whole.
func classicImage() *image.Image {
	img := restrictedImage()
	for i := range img.Routes[0].Methods[:4] {
		img.Routes[0].Methods[i].Reply.Permit = []image.Rule{{Policy: 2, When: image.Expr{Op: image.True}}}
	}
	return img
}

func newClassicGate(t *testing.T, img *image.Image) *classicGate {
	t.Helper()
	f := kernel.NewClassic(4, false)
	c := &classicGate{}
	var points [2]*kernel.ClassicEndpoint
	var err error
	for i := range points {
		if points[i], err = f.AddEndpoint(abi.DomainID(i), 4); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { points[i].Close() })
		if c.reports[i], err = kernel.OpenReports(points[i].Ring()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.reports[i].Close() })
	}
	route, err := f.Load(img, 0, points[0], points[1])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { route.Close() })
	if c.gate, err = f.Open(route); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.gate.Close() })
	methods := slices.Clone(filtered)
	for i := range methods {
		methods[i].Terse = route.Terse(i)
	}
	for i, file := range []*os.File{c.gate.Client, c.gate.Server} {
		check, err := gate.NewCheckReporting(int(c.gate.Check().Fd()), int(points[i].Reports().Fd()))
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
		c.ends[i] = gate.End{Interface: "test.v1.Test", Methods: methods, Policies: []string{"calls", "not too many", "replies"},
			Socket: fd, Page: int(points[i].Page().Fd()), Block: []uint32{c.gate.ClientBlock, c.gate.ServerBlock}[i], Check: check}
	}
	return c
}

// counted is a handler that echoes, and counts the requests that it saw.
func counted(n *atomic.Int32) gate.HandlerFunc {
	return func(ctx context.Context, call *gate.ServerCall) error {
		b, err := call.Recv()
		if err != nil {
			return err
		}
		n.Add(1)
		return call.Send(b)
	}
}

// TestLibraryVerdicts: the receiver's library decides as the policy says, before
// a handler sees the message or a caller the reply, and the sender learns why.
func TestLibraryVerdicts(t *testing.T) {
	var seen atomic.Int32
	g := newClassicGate(t, classicImage())
	c, _ := serveEnds(t, g.ends[0], g.ends[1], counted(&seen))
	reply, err := c.Invoke(t.Context(), "Unary", item(7), nil)
	if err != nil || number(reply) != 7 || seen.Load() != 1 {
		t.Fatalf("the control: %x, %v, %d requests seen", reply, err, seen.Load())
	}
	for _, v := range []struct {
		what    string
		method  string
		request []byte
		reason  abi.Reason
		policy  string
		field   uint32
	}{
		{"forbidden by a policy", "Unary", item(maxRequest + 1), abi.ReasonForbid, "not too many", 0},
		{"out of bounds", "Unary", item(5001), abi.ReasonBounds, "", 1},
		{"an unknown field", "Unary", protowire.AppendVarint(protowire.AppendTag(nil, 9, protowire.VarintType), 1), abi.ReasonUnknownField, "", 9},
		{"too large for the method", "Unary", make([]byte, 4000), abi.ReasonLength, "", 0},
		{"no policy permits the method", "Closed", nil, abi.ReasonDefault, "", 0},
	} {
		_, err := c.Invoke(t.Context(), v.method, v.request, nil)
		var e *gate.Error
		if !errors.As(err, &e) || e.Reason != v.reason || e.Policy != v.policy || e.Field != v.field || !e.Denied() {
			t.Errorf("%s: %#v", v.what, err)
		}
	}
	if seen.Load() != 1 {
		t.Errorf("the handler saw %d requests", seen.Load())
	}
	g = newClassicGate(t, restrictedImage())
	c, _ = serveEnds(t, g.ends[0], g.ends[1], counted(&seen))
	if reply, err := c.Invoke(t.Context(), "Unary", item(maxReply), nil); err != nil || number(reply) != maxReply || seen.Load() != 2 {
		t.Fatalf("the control: %x, %v, %d requests seen", reply, err, seen.Load())
	}
	_, err = c.Invoke(t.Context(), "Unary", item(maxReply+1), nil)
	var e *gate.Error
	if !errors.As(err, &e) || !e.ReplyDenied || seen.Load() != 3 {
		t.Errorf("a reply that no policy permits: %#v", err)
	}
}

// TestLibraryReports: what the libraries decided comes as records, about this
// gate whatever they say, and nothing else is believed.
func TestLibraryReports(t *testing.T) {
	var seen atomic.Int32
	g := newClassicGate(t, classicImage())
	c, _ := serveEnds(t, g.ends[0], g.ends[1], counted(&seen))
	c.Invoke(t.Context(), "Unary", item(maxRequest+1), nil)
	r, err := g.reports[1].Read()
	if err != nil || r.Reason != abi.ReasonForbid || r.From != 0 || r.To != 1 || r.Gate != g.gate.Index || r.Seq != 1 || len(r.Params) != 1 || r.Params[0] != maxRequest+1 {
		t.Errorf("of the server: %+v, %v", r, err)
	}
	c.Invoke(t.Context(), "Closed", nil, nil)
	if r, err = g.reports[0].Read(); err != nil || r.Reason != abi.ReasonDefault || r.From != 0 || r.Dir != abi.Request {
		t.Errorf("of the client: %+v, %v", r, err)
	}
	if err := g.reports[0].Drain(); err != nil {
		t.Fatal(err)
	}
	if r, err = g.reports[0].Read(); err == nil {
		t.Errorf("after the last: %+v", r)
	}
}

// TestLibraryRevocation: the library lets nothing pass on a revoked gate.
func TestLibraryRevocation(t *testing.T) {
	var seen atomic.Int32
	g := newClassicGate(t, classicImage())
	c, _ := serveEnds(t, g.ends[0], g.ends[1], counted(&seen))
	if _, err := c.Invoke(t.Context(), "Unary", item(1), nil); err != nil {
		t.Fatal("the control: ", err)
	}
	if err := g.gate.Revoke(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Invoke(t.Context(), "Unary", item(1), nil); err == nil || seen.Load() != 1 {
		t.Errorf("%v, the handler saw %d requests", err, seen.Load())
	}
}

// TestAttackHostileSenderOfLibrary: a client that speaks the wire by hand. The
// kernel drops what is wrong in method, kind, size or direction; the server's
// library refuses parameters before the handler runs. The controls: the same
// bytes arrive over a pair without a filter, and a good call reaches the handler.
func TestAttackHostileSenderOfLibrary(t *testing.T) {
	packet := func(h abi.Header, body []byte) []byte {
		h.Length = uint32(len(body))
		b := make([]byte, abi.HeaderSize)
		h.Put(b)
		return append(b, body...)
	}
	call := abi.Header{Kind: abi.KindCall, Gen: 1}
	forged := func(change func(h *abi.Header)) abi.Header {
		h := call
		change(&h)
		return h
	}
	for name, b := range map[string][]byte{
		"forged method":    packet(forged(func(h *abi.Header) { h.Method = 77 }), item(1)),
		"closed method":    packet(forged(func(h *abi.Header) { h.Method = uint32(len(filtered) - 1) }), item(1)),
		"oversize":         packet(call, make([]byte, 4000)),
		"wrong direction":  packet(forged(func(h *abi.Header) { h.Kind = abi.KindReply }), item(1)),
		"unknown flags":    packet(forged(func(h *abi.Header) { h.Flags = 4 }), item(1)),
		"slot outside":     packet(forged(func(h *abi.Header) { h.Slot = abi.Slots }), item(1)),
		"wrong length":     append(packet(call, item(1)), 0),
		"shorter than all": {1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			g := newClassicGate(t, classicImage())
			if got := passes(t, g.ends[0].Socket, g.ends[1].Socket, b, packet(call, item(1))); got {
				t.Error("it arrived")
			}
			plain, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(plain[0])
			defer unix.Close(plain[1])
			if !passes(t, plain[0], plain[1], b, packet(call, item(1))) {
				t.Error("the control: it does not arrive over a plain pair")
			}
			for _, option := range []int{unix.SO_DETACH_FILTER, unix.SO_LOCK_FILTER} {
				if err := unix.SetsockoptInt(g.ends[1].Socket, unix.SOL_SOCKET, option, 0); err != unix.EPERM {
					t.Errorf("option %d of a locked filter: %v", option, err)
				}
			}
			unix.Close(g.ends[0].Socket)
			unix.Close(g.ends[1].Socket)
		})
	}
	for name, body := range map[string][]byte{"out of policy": item(maxRequest + 1), "out of bounds": item(5001), "malformed": {8}, "unknown field": {0x48, 1}} {
		t.Run(name, func(t *testing.T) {
			var seen atomic.Int32
			g := newClassicGate(t, classicImage())
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- gate.ServeEnd(ctx, g.ends[1], counted(&seen)) }()
			defer func() { cancel(); <-done }()
			defer unix.Close(g.ends[0].Socket)
			send(t, g.ends[0].Socket, packet(call, body))
			if h := answer(t, g.ends[0].Socket); h.Kind != abi.KindError || seen.Load() != 0 {
				t.Errorf("answered by kind %d, the handler saw %d requests", h.Kind, seen.Load())
			}
			send(t, g.ends[0].Socket, packet(forged(func(h *abi.Header) { h.Gen = 2 }), item(1)))
			if h := answer(t, g.ends[0].Socket); h.Kind != abi.KindReply || seen.Load() != 1 {
				t.Errorf("the control: answered by kind %d, the handler saw %d requests", h.Kind, seen.Load())
			}
		})
	}
}

// TestAttackHostileServerOfLibrary: a server that answers by hand: another
// method's reply, one that nobody asked for. The client's library breaks the
// gate. The control is the right answer.
func TestAttackHostileServerOfLibrary(t *testing.T) {
	for name, change := range map[string]func(h *abi.Header){
		"control":            func(*abi.Header) {},
		"another method":     func(h *abi.Header) { h.Method = uint32(len(filtered) - 2) },
		"another generation": func(h *abi.Header) { h.Gen++ },
		"another slot":       func(h *abi.Header) { h.Slot++ },
	} {
		t.Run(name, func(t *testing.T) {
			g := newClassicGate(t, classicImage())
			c, err := gate.NewClient(g.ends[0])
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(g.ends[1].Socket)
			answered := make(chan struct{})
			defer func() { c.Close(); <-answered }()
			go func() {
				defer close(answered)
				b := make([]byte, abi.MaxMessage)
				n, err := unix.Read(g.ends[1].Socket, b)
				if err != nil || n < abi.HeaderSize {
					return
				}
				h, err := abi.ParseHeader(b[:n])
				if err != nil {
					return
				}
				h.Kind, h.Deadline, h.Length = abi.KindReply, 0, 2
				change(&h)
				out := make([]byte, abi.HeaderSize)
				h.Put(out)
				unix.Write(g.ends[1].Socket, append(out, item(1)...))
				unix.Shutdown(g.ends[1].Socket, unix.SHUT_WR) // what the kernel dropped nobody waits for
			}()
			_, err = c.Invoke(t.Context(), "Unary", item(1), nil)
			if (err == nil) != (name == "control") {
				t.Errorf("%v", err)
			}
		})
	}
}

// passes reports whether b arrives before good does, which is sent after it.
func passes(t *testing.T, from, to int, b, good []byte) bool {
	t.Helper()
	send(t, from, b)
	send(t, from, good)
	got := make([]byte, abi.MaxMessage)
	n, err := unix.Read(to, got)
	if err != nil {
		t.Fatal(err)
	}
	return n != len(good) || string(got[:n]) == string(b) && string(b) != string(good)
}

func send(t *testing.T, fd int, b []byte) {
	t.Helper()
	if _, err := unix.Write(fd, b); err != nil {
		t.Fatal(fmt.Errorf("send: %w", err))
	}
}

func answer(t *testing.T, fd int) abi.Header {
	t.Helper()
	b := make([]byte, abi.MaxMessage)
	n, err := unix.Read(fd, b)
	if err != nil {
		t.Fatal(err)
	}
	h, err := abi.ParseHeader(b[:n])
	if err != nil {
		t.Fatal(err)
	}
	return h
}
