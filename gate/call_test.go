package gate_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/gate"
	"ward/gate/gatetest"
)

// serve makes a gate whose server is h, and ends both with the test.
func serve(t testing.TB, h gate.HandlerFunc, methods ...abi.ControlMethod) *gate.Client {
	t.Helper()
	ce, se := gatetest.Pair(t, methods...)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- gate.ServeEnd(ctx, se, h) }()
	c, err := gate.NewClient(ce)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		cancel()
		if err := <-done; err != nil && err != io.EOF {
			t.Errorf("ServeEnd: %v", err)
		}
	})
	return c
}

func wantCode(t *testing.T, err error, code gate.Code) *gate.Error {
	t.Helper()
	var e *gate.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("error %v, want code %v", err, code)
	}
	return e
}

func TestUnary(t *testing.T) {
	c := serve(t, echo)
	for _, n := range []int{0, 1, 64, 4096, 4097, 100_000, abi.MaxMessage - abi.HeaderSize} {
		want := strings.Repeat("x", n)
		got, err := c.Invoke(t.Context(), "Unary", []byte(want), nil)
		if err != nil || string(got) != want {
			t.Fatalf("%d bytes: got %d, %v", n, len(got), err)
		}
	}
	_, err := c.Invoke(t.Context(), "Unary", make([]byte, abi.MaxMessage-abi.HeaderSize+1), nil)
	wantCode(t, err, gate.ResourceExhausted)
	_, err = c.Invoke(t.Context(), "Missing", nil, nil)
	wantCode(t, err, gate.Unimplemented)
	if c.Err() != nil {
		t.Fatalf("the gate is broken: %v", c.Err())
	}
}

func TestErrorsTravel(t *testing.T) {
	want := &gate.Error{Code: gate.NotFound, Message: "no such picture", Details: []gate.Detail{{TypeURL: "type.googleapis.com/a.B", Value: []byte{8, 1}}}}
	c := serve(t, func(context.Context, *gate.ServerCall) error { return want })
	_, err := c.Invoke(t.Context(), "Unary", nil, nil)
	got := wantCode(t, err, gate.NotFound)
	if got.Message != want.Message || len(got.Details) != 1 || got.Details[0].TypeURL != want.Details[0].TypeURL || string(got.Details[0].Value) != "\x08\x01" {
		t.Errorf("got %+v", got)
	}
}

func TestErrorsAreCutToTheirBounds(t *testing.T) {
	c := serve(t, func(context.Context, *gate.ServerCall) error {
		e := &gate.Error{Code: gate.Internal, Message: strings.Repeat("é", 5000)}
		for range 20 {
			e.Details = append(e.Details, gate.Detail{TypeURL: "t", Value: []byte("v")})
		}
		e.Details = append(e.Details, gate.Detail{TypeURL: "t", Value: make([]byte, gate.MaxDetail+1)})
		return e
	})
	_, err := c.Invoke(t.Context(), "Unary", nil, nil)
	got := wantCode(t, err, gate.Internal)
	if len(got.Message) > gate.MaxErrorMessage || !strings.Contains(got.Message, "13 of 21 details left out") || len(got.Details) != gate.MaxDetails {
		t.Errorf("message of %d bytes %q, %d details", len(got.Message), got.Message[len(got.Message)-100:], len(got.Details))
	}
}

func TestPanickingHandler(t *testing.T) {
	c := serve(t, func(ctx context.Context, call *gate.ServerCall) error {
		if b, _ := call.Recv(); string(b) == "panic" {
			panic("on purpose")
		}
		return call.Send(nil)
	})
	_, err := c.Invoke(t.Context(), "Unary", []byte("panic"), nil)
	if e := wantCode(t, err, gate.Internal); strings.Contains(e.Message, "on purpose") {
		t.Errorf("the panic's value travels: %q", e.Message)
	}
	if _, err := c.Invoke(t.Context(), "Unary", nil, nil); err != nil {
		t.Errorf("the gate does not go on: %v", err)
	}
}

func TestMetadata(t *testing.T) {
	c := serve(t, func(ctx context.Context, call *gate.ServerCall) error {
		if err := call.Answer(gate.Metadata{"undeclared": "x"}); err == nil || !strings.Contains(err.Error(), "traceparent") {
			return gate.Errorf(gate.Internal, "undeclared key in the answer: %v", err)
		}
		if err := call.Answer(gate.Metadata{"X-Test": call.Metadata()["traceparent"] + "!"}); err != nil {
			return err
		}
		b, _ := call.Recv()
		return call.Send(b)
	})
	x := &exchange{request: []byte("body")}
	if err := c.Call(t.Context(), 0, x, gate.Metadata{"Traceparent": "00-1"}); err != nil {
		t.Fatal(err)
	}
	if x.md["x-test"] != "00-1!" || string(x.reply) != "body" {
		t.Errorf("got %v %q", x.md, x.reply)
	}
	_, err := c.Invoke(t.Context(), "Unary", nil, gate.Metadata{"nope": "x"})
	if e := wantCode(t, err, gate.InvalidArgument); !strings.Contains(e.Message, `"nope" is not declared`) {
		t.Errorf("got %v", e)
	}
}

type exchange struct {
	request, reply []byte
	md             gate.Metadata
}

func (x *exchange) AppendRequest(b []byte) ([]byte, error) { return append(b, x.request...), nil }
func (x *exchange) ParseReply(b []byte, md gate.Metadata) error {
	x.reply, x.md = append([]byte{}, b...), md
	return nil
}

func TestPeerFrom(t *testing.T) {
	got := make(chan abi.Peer, 1)
	c := serve(t, func(ctx context.Context, call *gate.ServerCall) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		p, _ := gate.PeerFrom(ctx)
		got <- p
		return call.Send(nil)
	})
	if _, err := c.Invoke(t.Context(), "Unary", nil, nil); err != nil {
		t.Fatal(err)
	}
	if p := <-got; p.Name != "client" || p.UID != 1234 || p.Ring != 3 {
		t.Errorf("peer %+v", p)
	}
	if c.Peer().Name != "server" {
		t.Errorf("peer of the client: %+v", c.Peer())
	}
	if _, ok := gate.PeerFrom(context.Background()); ok {
		t.Error("a peer without a gate")
	}
}

// blocker is a handler that reports when it runs and waits to be let go.
type blocker struct{ entered, leave chan struct{} }

func newBlocker() *blocker { return &blocker{make(chan struct{}, 1000), make(chan struct{})} }

func (b *blocker) handle(ctx context.Context, call *gate.ServerCall) error {
	body, _ := call.Recv()
	if string(body) != "block" {
		return call.Send(body)
	}
	b.entered <- struct{}{}
	select {
	case <-b.leave:
		return call.Send(body)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// The table holds abi.Slots calls; more wait for their turn.
func TestMoreCallersThanSlots(t *testing.T) {
	const callers = 3 * abi.Slots
	b := newBlocker()
	c := serve(t, b.handle)
	var wg sync.WaitGroup
	errs := make(chan error, callers)
	for range callers {
		wg.Go(func() {
			_, err := c.Invoke(context.Background(), "Unary", []byte("block"), nil)
			errs <- err
		})
	}
	for range abi.Slots {
		<-b.entered
	}
	// A caller without a slot gives up when its context ends.
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := c.Invoke(ctx, "Unary", nil, nil)
	wantCode(t, err, gate.DeadlineExceeded)
	close(b.leave)
	wg.Wait()
	for range callers {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
}

// A handler that is slow delays no other call, also if its method was quick so
// far and nobody else reads the gate.
func TestSlowHandlerDelaysNoOther(t *testing.T) {
	b := newBlocker()
	c := serve(t, b.handle)
	for range 1000 { // long enough to be known as quick
		if _, err := c.Invoke(t.Context(), "Unary", []byte("x"), nil); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, err := c.Invoke(context.Background(), "Unary", []byte("block"), nil); err != nil {
				t.Error(err)
			}
		})
		<-b.entered
		start := time.Now()
		for range 20 {
			if _, err := c.Invoke(t.Context(), "Unary", []byte("x"), nil); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("20 calls beside a slow one took %v", d)
		}
	}
	close(b.leave)
	wg.Wait()
}

func TestDeadline(t *testing.T) {
	deadlines := make(chan time.Duration, 1)
	b := newBlocker()
	c := serve(t, func(ctx context.Context, call *gate.ServerCall) error {
		if d, ok := ctx.Deadline(); ok {
			deadlines <- time.Until(d)
		}
		return b.handle(ctx, call)
	})
	for _, timeout := range []time.Duration{2 * time.Millisecond, 50 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		_, err := c.Invoke(ctx, "Unary", []byte("block"), nil)
		cancel()
		wantCode(t, err, gate.DeadlineExceeded)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v is not context.DeadlineExceeded", err)
		}
		if d := <-deadlines; d > timeout {
			t.Errorf("deadline of the handler in %v, of the call in %v", d, timeout)
		}
	}
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	_, err := c.Invoke(ctx, "Unary", nil, nil)
	wantCode(t, err, gate.DeadlineExceeded)
	if _, err := c.Invoke(t.Context(), "Unary", []byte("x"), nil); err != nil {
		t.Errorf("the gate does not go on: %v", err)
	}
}

// A cancelled call ends at once for its caller, its handler is told, and its
// slot comes back.
func TestCancel(t *testing.T) {
	ended := make(chan error, 1)
	entered := make(chan struct{}, 1)
	c := serve(t, func(ctx context.Context, call *gate.ServerCall) error {
		if b, _ := call.Recv(); string(b) != "block" {
			return call.Send(b)
		}
		entered <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	})
	for range 2 * abi.Slots {
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() {
			_, err := c.Invoke(ctx, "Unary", []byte("block"), nil)
			result <- err
		}()
		<-entered
		cancel()
		wantCode(t, <-result, gate.Canceled)
		if err := <-ended; err != context.Canceled {
			t.Fatalf("the handler's context ended with %v", err)
		}
	}
	if _, err := c.Invoke(t.Context(), "Unary", []byte("x"), nil); err != nil {
		t.Error(err)
	}
}

// When the server goes, every pending call fails with Unavailable at once,
// whoever reads the gate, and so does every later one.
func TestServerDies(t *testing.T) {
	ce, se := gatetest.Pair(t)
	c, err := gate.NewClient(ce)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, kill := context.WithCancel(context.Background())
	b := newBlocker()
	done := make(chan error, 1)
	go func() { done <- gate.ServeEnd(ctx, se, gate.HandlerFunc(b.handle)) }()
	errs := make(chan error, 20)
	for range 20 {
		go func() {
			_, err := c.Invoke(context.Background(), "Unary", []byte("block"), nil)
			errs <- err
		}()
	}
	for range 20 {
		<-b.entered
	}
	kill()
	for range 20 {
		wantCode(t, <-errs, gate.Unavailable)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	_, err = c.Invoke(t.Context(), "Unary", nil, nil)
	wantCode(t, err, gate.Unavailable)
	if !c.Broken() || c.Err() == nil {
		t.Error("the gate is not broken")
	}
}

// When the client goes, the handlers' contexts end.
func TestClientDies(t *testing.T) {
	ce, se := gatetest.Pair(t)
	c, err := gate.NewClient(ce)
	if err != nil {
		t.Fatal(err)
	}
	b := newBlocker()
	done := make(chan error, 1)
	go func() { done <- gate.ServeEnd(context.Background(), se, gate.HandlerFunc(b.handle)) }()
	result := make(chan error, 1)
	go func() {
		_, err := c.Invoke(context.Background(), "Unary", []byte("block"), nil)
		result <- err
	}()
	<-b.entered
	c.Close()
	wantCode(t, <-result, gate.Canceled)
	if err := <-done; err != io.EOF {
		t.Errorf("ServeEnd: %v", err)
	}
}

// What no filter would let pass breaks the gate and nothing else.
func TestMalformedPackets(t *testing.T) {
	header := func(h abi.Header, body int) []byte {
		b := make([]byte, abi.HeaderSize+body)
		h.Put(b)
		return b
	}
	for name, packet := range map[string][]byte{
		"empty":       {},
		"short":       {1, 2, 3},
		"version":     append([]byte{9}, make([]byte, 23)...),
		"length":      header(abi.Header{Kind: abi.KindReply, Gen: 1, Length: 7}, 3),
		"slot":        header(abi.Header{Kind: abi.KindReply, Slot: 64, Gen: 1}, 0),
		"generation":  header(abi.Header{Kind: abi.KindReply, Gen: 7}, 0),
		"unsolicited": header(abi.Header{Kind: abi.KindReply, Slot: 5, Gen: 1}, 0),
		"stream item": header(abi.Header{Kind: abi.KindStreamItem, Gen: 1}, 0),
		"too long":    header(abi.Header{Kind: abi.KindReply, Gen: 1, Length: abi.MaxMessage}, abi.MaxMessage),
	} {
		t.Run(name, func(t *testing.T) {
			ce, se := gatetest.Pair(t)
			c, err := gate.NewClient(ce)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			defer unix.Close(se.Socket)
			if err := unix.Send(se.Socket, packet, 0); err != nil {
				t.Fatal(err)
			}
			_, err = c.Invoke(t.Context(), "Unary", nil, nil)
			wantCode(t, err, gate.Unavailable)
			if name == "empty" && !strings.Contains(err.Error(), "empty packet") {
				t.Errorf("an empty packet is not told from the end of file: %v", err)
			}
		})
	}
}

// A descriptor that comes with a message goes nowhere: the kernel closes it. It
// stays open for whoever reads with recvmsg and room for it.
func TestSmuggledDescriptor(t *testing.T) {
	// smuggle sends an answer with the only write end of a pipe, and returns the read end.
	smuggle := func(t *testing.T, socket int) *os.File {
		t.Helper()
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		defer w.Close()
		b := make([]byte, abi.HeaderSize)
		(&abi.Header{Kind: abi.KindReply, Gen: 1}).Put(b)
		if err := unix.Sendmsg(socket, b, unix.UnixRights(int(w.Fd())), nil, 0); err != nil {
			t.Fatal(err)
		}
		return r
	}
	// writers reports whether a write end is open anywhere.
	writers := func(t *testing.T, r *os.File) bool {
		t.Helper()
		fds := []unix.PollFd{{Fd: int32(r.Fd()), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, 0); err != nil {
			t.Fatal(err)
		}
		return fds[0].Revents&unix.POLLHUP == 0
	}
	ce, se := gatetest.Pair(t)
	c, err := gate.NewClient(ce)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	defer unix.Close(se.Socket)
	r := smuggle(t, se.Socket)
	if !writers(t, r) {
		t.Fatal("the descriptor is closed before the message is read: the test shows nothing")
	}
	if _, err := c.Invoke(t.Context(), "Unary", nil, nil); err != nil {
		t.Fatal(err)
	}
	if writers(t, r) {
		t.Error("the descriptor is open after the message was read")
	}

	ce, se = gatetest.Pair(t)
	defer unix.Close(ce.Socket)
	defer unix.Close(se.Socket)
	r = smuggle(t, se.Socket)
	oob := make([]byte, unix.CmsgSpace(4))
	if _, _, _, _, err := unix.Recvmsg(ce.Socket, make([]byte, abi.HeaderSize), oob, unix.MSG_CMSG_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if !writers(t, r) {
		t.Error("control: recvmsg with room for it did not get the descriptor either")
	}
	rights(t, oob)
}

// rights closes the descriptors in oob.
func rights(t *testing.T, oob []byte) {
	t.Helper()
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
}

// A denied reply arrives as a bare header whose length disagrees, or as less
// than a header if it had no body.
func TestDeniedReply(t *testing.T) {
	for length, size := range map[uint32]int{100: abi.HeaderSize, 0: abi.DeniedSize} {
		ce, se := gatetest.Pair(t)
		c, err := gate.NewClient(ce)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		defer unix.Close(se.Socket)
		b := make([]byte, abi.HeaderSize)
		(&abi.Header{Kind: abi.KindReply, Gen: 1, Length: length}).Put(b)
		if err := unix.Send(se.Socket, b[:size], 0); err != nil {
			t.Fatal(err)
		}
		_, err = c.Invoke(t.Context(), "Unary", nil, nil)
		if e := wantCode(t, err, gate.PermissionDenied); !e.Denied() || !e.ReplyDenied {
			t.Errorf("got %+v", e)
		}
		if c.Broken() {
			t.Error("the gate is broken")
		}
	}
}

// Leadership passes on through all orders of replies, cancellations and deadlines.
func TestLeaderHandoff(t *testing.T) {
	c := serve(t, func(ctx context.Context, call *gate.ServerCall) error {
		b, _ := call.Recv()
		if len(b) > 0 && b[0]%4 == 3 {
			<-ctx.Done()
			return ctx.Err()
		}
		return call.Send(b)
	})
	rounds := 300
	if testing.Short() {
		rounds = 50
	}
	var wg sync.WaitGroup
	for w := range 40 {
		wg.Go(func() {
			for i := range rounds {
				ctx, cancel := context.Background(), func() {}
				switch {
				case w%4 == 3:
					ctx, cancel = context.WithTimeout(ctx, time.Duration(i%7)*100*time.Microsecond)
				case w%4 == 2:
					ctx, cancel = context.WithCancel(ctx)
				}
				want := fmt.Sprintf("%c%d-%d", byte(w), w, i)
				got, err := c.Invoke(ctx, "Unary", []byte(want), nil)
				cancel()
				if w%4 == 3 {
					if e := gate.AsError(err); e == nil || e.Code != gate.DeadlineExceeded {
						t.Errorf("got %v", err)
					}
				} else if err != nil || string(got) != want {
					t.Errorf("got %q, %v; want %q", got, err, want)
				}
			}
		})
	}
	wg.Wait()
	if c.Err() != nil {
		t.Fatal(c.Err())
	}
}
