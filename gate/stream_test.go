package gate_test

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/gate"
	"ward/gate/gatetest"
)

// streams is a handler for the streaming methods of gatetest.
func streams(ctx context.Context, call *gate.ServerCall) error {
	switch call.Method() {
	case "Unary":
		return echo(ctx, call)
	case "Upload": // answers with the number of items and of bytes
		items, bytes := 0, 0
		for {
			b, err := call.Recv()
			if err == io.EOF {
				return call.Send(fmt.Appendf(nil, "%d %d", items, bytes))
			}
			if err != nil {
				return err
			}
			if string(b) != fmt.Sprint(items) {
				return gate.Errorf(gate.Internal, "item %d is %q", items, b)
			}
			items, bytes = items+1, bytes+len(b)
		}
	case "Download": // as many items as the request says
		b, err := call.Recv()
		if err != nil {
			return err
		}
		var n int
		fmt.Sscan(string(b), &n)
		for i := range n {
			if err := call.Send([]byte(fmt.Sprint(i))); err != nil {
				return err
			}
		}
		return nil
	case "Chat": // echoes
		for {
			b, err := call.Recv()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			if err := call.Send(b); err != nil {
				return err
			}
		}
	}
	return gate.Errorf(gate.Unimplemented, "%s", call.Method())
}

func TestDownload(t *testing.T) {
	c := serve(t, streams)
	for _, n := range []int{0, 1, abi.StreamWindow, 1000} {
		st, err := c.NewStream(t.Context(), "Download", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Send([]byte(fmt.Sprint(n))); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if b, err := st.Recv(); err != nil || string(b) != fmt.Sprint(i) {
				t.Fatalf("item %d: %q, %v", i, b, err)
			}
		}
		for range 2 {
			if _, err := st.Recv(); err != io.EOF {
				t.Fatalf("after %d items: %v", n, err)
			}
		}
	}
}

func TestUpload(t *testing.T) {
	c := serve(t, streams)
	for _, n := range []int{0, 1, abi.StreamWindow, 1000} {
		st, err := c.NewStream(t.Context(), "Upload", nil)
		if err != nil {
			t.Fatal(err)
		}
		bytes := 0
		for i := range n {
			b := []byte(fmt.Sprint(i))
			bytes += len(b)
			if err := st.Send(b); err != nil {
				t.Fatal(err)
			}
		}
		if err := st.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if b, err := st.Recv(); err != nil || string(b) != fmt.Sprintf("%d %d", n, bytes) {
			t.Fatalf("got %q, %v", b, err)
		}
		if _, err := st.Recv(); err != io.EOF {
			t.Fatal(err)
		}
	}
}

func TestChat(t *testing.T) {
	c := serve(t, streams)
	var wg sync.WaitGroup
	for range 8 { // at the same time, on one gate
		wg.Go(func() {
			st, err := c.NewStream(t.Context(), "Chat", nil)
			if err != nil {
				t.Error(err)
				return
			}
			wg.Go(func() {
				for i := range 500 {
					if err := st.Send([]byte(fmt.Sprint(i))); err != nil {
						t.Error(err)
						return
					}
				}
				if err := st.CloseSend(); err != nil {
					t.Error(err)
				}
			})
			for i := range 500 {
				if b, err := st.Recv(); err != nil || string(b) != fmt.Sprint(i) {
					t.Errorf("item %d: %q, %v", i, b, err)
					return
				}
			}
			if _, err := st.Recv(); err != io.EOF {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestStreamErrors(t *testing.T) {
	c := serve(t, func(_ context.Context, call *gate.ServerCall) error {
		if call.Method() == "Download" {
			if err := call.Send([]byte("one")); err != nil {
				return err
			}
		}
		return gate.Errorf(gate.FailedPrecondition, "not now")
	})
	for _, method := range []string{"Upload", "Download", "Chat"} {
		st, err := c.NewStream(t.Context(), method, nil)
		if err != nil {
			t.Fatal(err)
		}
		if method == "Download" {
			if err := st.Send(nil); err != nil {
				t.Fatal(err)
			}
			if b, err := st.Recv(); string(b) != "one" {
				t.Fatal(err)
			}
		}
		_, err = st.Recv()
		wantCode(t, err, gate.FailedPrecondition)
		if method != "Download" {
			if err := st.Send(nil); err != io.EOF {
				t.Errorf("%s: send after the end: %v", method, err)
			}
		}
	}
}

// A client that does not take its items stops their sender after the window,
// and no other call on the gate.
func TestSlowReaderHoldsUpItsSenderOnly(t *testing.T) {
	var sent atomic.Int32
	full := make(chan struct{})
	c := serve(t, func(ctx context.Context, call *gate.ServerCall) error {
		if call.Method() == "Unary" {
			return echo(ctx, call)
		}
		for i := range 1000 {
			if i == abi.StreamWindow {
				close(full)
			}
			if err := call.Send([]byte(fmt.Sprint(i))); err != nil {
				return err
			}
			sent.Add(1)
		}
		return nil
	})
	st, err := c.NewStream(t.Context(), "Download", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Send(nil); err != nil {
		t.Fatal(err)
	}
	<-full
	for range 1000 {
		if _, err := c.Invoke(t.Context(), "Unary", []byte("x"), nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := sent.Load(); n > abi.StreamWindow {
		t.Errorf("%d items were sent to a client that took none", n)
	}
	for i := range 1000 {
		if b, err := st.Recv(); err != nil || string(b) != fmt.Sprint(i) {
			t.Fatalf("item %d: %q, %v", i, b, err)
		}
		if n := int(sent.Load()); n > i+1+abi.StreamWindow {
			t.Fatalf("%d items sent, %d taken", n, i+1)
		}
	}
}

// The same the other way round.
func TestSlowServerHoldsUpItsSenderOnly(t *testing.T) {
	begin := make(chan struct{})
	c := serve(t, func(ctx context.Context, call *gate.ServerCall) error {
		if call.Method() == "Upload" {
			<-begin
		}
		return streams(ctx, call)
	})
	st, err := c.NewStream(t.Context(), "Upload", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range abi.StreamWindow {
		if err := st.Send([]byte(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	blocked := make(chan error, 1)
	go func() { blocked <- st.Send([]byte(fmt.Sprint(abi.StreamWindow))) }()
	for range 1000 {
		if _, err := c.Invoke(t.Context(), "Unary", []byte("x"), nil); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-blocked:
		t.Fatalf("item %d was sent to a server that took none: %v", abi.StreamWindow, err)
	default:
	}
	close(begin)
	if err := <-blocked; err != nil {
		t.Fatal(err)
	}
	if err := st.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Recv(); err != nil {
		t.Fatal(err)
	}
}

// A server that ignores credits is cut off before its items pile up.
func TestFloodingServer(t *testing.T) {
	ce, se := gatetest.Pair(t)
	c, err := gate.NewClient(ce)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	defer unix.Close(se.Socket)
	st, err := c.NewStream(t.Context(), "Download", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Send(nil); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, abi.HeaderSize)
	(&abi.Header{Kind: abi.KindStreamItem, Method: 2, Gen: 1}).Put(b)
	for range abi.StreamWindow + 2 {
		if err := unix.Send(se.Socket, b, 0); err != nil {
			t.Fatal(err)
		}
	}
	// A unary call leads; it sees all the items. Its reply is the last packet.
	(&abi.Header{Kind: abi.KindReply, Slot: 1, Gen: 1}).Put(b)
	if err := unix.Send(se.Socket, b, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Invoke(t.Context(), "Unary", nil, nil); err != nil {
		t.Fatal(err)
	}
	_, err = st.Recv()
	wantCode(t, err, gate.ResourceExhausted)
	// The server is told.
	var last abi.Header
	for range 3 {
		n, err := unix.Read(se.Socket, b)
		if err != nil {
			t.Fatal(err)
		}
		last, _ = abi.ParseHeader(b[:n])
	}
	if last.Kind != abi.KindCancel || last.Slot != 0 {
		t.Errorf("last message of the client: %+v", last)
	}
}

// A client that ignores credits has its call ended.
func TestFloodingClient(t *testing.T) {
	ce, se := gatetest.Pair(t)
	defer unix.Close(ce.Socket)
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	done := make(chan error, 1)
	go func() {
		done <- gate.ServeEnd(ctx, se, gate.HandlerFunc(func(ctx context.Context, call *gate.ServerCall) error {
			<-ctx.Done() // takes nothing
			for {
				if _, err := call.Recv(); err != nil {
					result <- err
					return err
				}
			}
		}))
	}()
	b := make([]byte, abi.HeaderSize)
	(&abi.Header{Kind: abi.KindCall, Method: 1, Gen: 1}).Put(b)
	for i := range abi.StreamWindow + 2 {
		if err := unix.Send(ce.Socket, b, 0); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			(&abi.Header{Kind: abi.KindStreamItem, Method: 1, Gen: 1}).Put(b)
		}
	}
	wantCode(t, <-result, gate.ResourceExhausted)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestCancelledStream(t *testing.T) {
	ended := make(chan error, 1)
	c := serve(t, func(ctx context.Context, call *gate.ServerCall) error {
		if call.Method() == "Unary" {
			return echo(ctx, call)
		}
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	})
	for range 2 * abi.Slots {
		ctx, cancel := context.WithCancel(t.Context())
		st, err := c.NewStream(ctx, "Chat", nil)
		if err != nil {
			t.Fatal(err)
		}
		result := make(chan error, 1)
		go func() {
			_, err := st.Recv()
			result <- err
		}()
		cancel()
		wantCode(t, <-result, gate.Canceled)
		<-ended
	}
	if _, err := c.Invoke(t.Context(), "Unary", nil, nil); err != nil {
		t.Error(err)
	}
}

func TestServerDiesInAStream(t *testing.T) {
	ce, se := gatetest.Pair(t)
	c, err := gate.NewClient(ce)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, kill := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- gate.ServeEnd(ctx, se, gate.HandlerFunc(streams)) }()
	st, err := c.NewStream(t.Context(), "Chat", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Send([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Recv(); err != nil {
		t.Fatal(err)
	}
	kill()
	_, err = st.Recv()
	if err == nil || err == io.EOF {
		t.Fatalf("got %v", err)
	}
	if code := gate.AsError(err).Code; code != gate.Unavailable && code != gate.Canceled {
		t.Errorf("got %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
