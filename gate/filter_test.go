package gate_test

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
	"ward/filter"
	"ward/gate"
	"ward/gate/gatetest"
	"ward/image"
	"ward/kernel"
)

// Numbers that the policy of testImage decides by.
const (
	maxRequest = 1000 // a larger number is forbidden by "not too many"
	maxReply   = 100  // a larger number in a reply is not permitted
)

// testImage is the compiled form of the service of gatetest: one field, number
// (uint32, at most 5000), in each message.
func testImage() *image.Image {
	number := image.Operand{What: image.Scalar, Path: []uint32{1}}
	long := func(n int64) image.Operand { return image.Operand{Value: image.Value{Long: n}} }
	p := image.MethodPolicy{
		Request: image.Decision{
			Permit: []image.Rule{{Policy: 0, When: image.Expr{Op: image.True}}},
			Forbid: []image.Rule{{Policy: 1, When: image.Expr{Op: image.Less, Left: long(maxRequest), Right: number}}},
		},
		Reply: image.Decision{Permit: []image.Rule{{Policy: 2, When: image.Expr{Op: image.LessEq, Left: number, Right: long(maxReply)}}}},
	}
	closed := image.MethodPolicy{}
	img := &image.Image{
		Name: "test", Domains: []image.Domain{{Name: "client"}, {Name: "server"}},
		Messages: []image.Message{{Name: "test.v1.Item", Fields: []image.Field{{Number: 1, Name: "number", Type: image.Uint32, HasRange: true, Max: 5000}}}},
		Policies: []image.Policy{{ID: "calls"}, {ID: "not too many", Forbid: true}, {ID: "replies"}},
		Routes:   []image.Route{{Client: 0, Server: 1, Methods: []image.MethodPolicy{p, p, p, p, closed}}},
	}
	i := image.Interface{Name: "test.v1.Test"}
	for _, m := range filtered {
		i.Methods = append(i.Methods, image.Method{Name: m.Name, ClientStream: m.ClientStream, ServerStream: m.ServerStream})
	}
	img.Interfaces = []image.Interface{i}
	return img
}

// filtered are the methods of testImage: no policy lets anybody call the last.
var filtered = append(append([]abi.ControlMethod{}, gatetest.Methods...), abi.ControlMethod{Name: "Closed"})

// filteredEnds makes a gate with its filters.
func filteredEnds(t *testing.T) (client, server gate.End, g *kernel.Gate) {
	t.Helper()
	return filteredEndsOf(t, testImage())
}

// filteredEndsOf does the same for another policy of the system of testImage.
func filteredEndsOf(t *testing.T, img *image.Image) (client, server gate.End, g *kernel.Gate) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: loads BPF programs")
	}
	fabric, err := kernel.NewFabric(kernel.FabricConfig{Gates: 4, Programs: 8, Words: img.Words, Buckets: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fabric.Close() })
	var ends [2]*kernel.Endpoint
	for i := range ends {
		if ends[i], err = fabric.AddEndpoint(abi.DomainID(i), 0, 4, 64<<10); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ends[i].Close() })
	}
	spec, err := filter.Build(img, 0, filter.Atoms{User: -1})
	if err != nil {
		t.Fatal(err)
	}
	route, err := fabric.Load(spec, ends[0], ends[1])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { route.Close() })
	if g, err = fabric.Open(route); err != nil {
		t.Fatal(err)
	}
	e := gate.End{Interface: "test.v1.Test", Methods: filtered, Policies: []string{"calls", "not too many", "replies"}}
	client, server = e, e
	client.Page, client.Block = int(ends[0].Page().Fd()), g.ClientBlock
	server.Page, server.Block = int(ends[1].Page().Fd()), g.ServerBlock
	for i, f := range []*os.File{g.Client, g.Server} {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		[]*gate.End{&client, &server}[i].Socket = fd
	}
	return client, server, g
}

func item(n uint64) []byte {
	if n == 0 {
		return nil
	}
	return protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), n)
}

func number(b []byte) uint64 {
	if len(b) < 2 {
		return 0
	}
	n, _ := protowire.ConsumeVarint(b[1:])
	return n
}

// serveFiltered serves a filtered gate with h.
func serveFiltered(t *testing.T, h gate.HandlerFunc) (*gate.Client, *kernel.Gate, <-chan error) {
	t.Helper()
	return serveFilteredOf(t, testImage(), h)
}

func serveFilteredOf(t *testing.T, img *image.Image, h gate.HandlerFunc) (*gate.Client, *kernel.Gate, <-chan error) {
	t.Helper()
	ce, se, g := filteredEndsOf(t, img)
	c, done := serveEnds(t, ce, se, h)
	return c, g, done
}

// serveEnds serves one end of a gate with h, and makes a client of the other.
func serveEnds(t *testing.T, ce, se gate.End, h gate.HandlerFunc) (*gate.Client, <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	finished := make(chan struct{})
	go func() {
		done <- gate.ServeEnd(ctx, se, h)
		close(finished)
	}()
	c, err := gate.NewClient(ce)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		cancel()
		<-finished
	})
	return c, done
}

// What the kernel decides is what the caller learns.
func TestVerdicts(t *testing.T) {
	c, _, _ := serveFiltered(t, echo)
	for range 2 * abi.Slots { // denials give their slots back
		if b, err := c.Invoke(t.Context(), "Unary", item(7), nil); err != nil || number(b) != 7 {
			t.Fatalf("%x, %v", b, err)
		}

		_, err := c.Invoke(t.Context(), "Unary", item(maxRequest+1), nil)
		if e := wantCode(t, err, gate.PermissionDenied); e.Policy != "not too many" || e.Reason != abi.ReasonForbid || !e.Denied() ||
			e.Message != `test.v1.Test/Unary denied: forbidden by policy "not too many"` {
			t.Fatalf("%+v", e)
		}

		_, err = c.Invoke(t.Context(), "Closed", item(1), nil)
		if e := wantCode(t, err, gate.PermissionDenied); e.Reason != abi.ReasonDefault || !strings.Contains(e.Message, "default deny") {
			t.Fatalf("%+v", e)
		}

		_, err = c.Invoke(t.Context(), "Unary", item(5001), nil)
		if e := wantCode(t, err, gate.InvalidArgument); e.Reason != abi.ReasonBounds || e.Field != 1 {
			t.Fatalf("%+v", e)
		}

		_, err = c.Invoke(t.Context(), "Unary", item(maxReply+1), nil)
		if e := wantCode(t, err, gate.PermissionDenied); !e.ReplyDenied || !e.Denied() {
			t.Fatalf("%+v", e)
		}
	}
}

// A server learns that its reply was denied.
func TestServerLearnsOfADeniedReply(t *testing.T) {
	result := make(chan error, 1)
	c, _, _ := serveFiltered(t, func(ctx context.Context, call *gate.ServerCall) error {
		err := call.Send(item(maxReply + 1))
		result <- err
		return err
	})
	_, err := c.Invoke(t.Context(), "Unary", item(2), nil)
	wantCode(t, err, gate.PermissionDenied)
	if e := wantCode(t, <-result, gate.PermissionDenied); e.Reason != abi.ReasonDefault {
		t.Errorf("%+v", e)
	}
}

// Streams of all kinds, longer than their window: credits pass the filter.
func TestFilteredStreams(t *testing.T) {
	c, _, _ := serveFiltered(t, func(ctx context.Context, call *gate.ServerCall) error {
		switch call.Method() {
		case "Upload":
			n := uint64(0)
			for {
				_, err := call.Recv()
				if err == io.EOF {
					return call.Send(item(n % maxReply))
				}
				if err != nil {
					return err
				}
				n++
			}
		case "Download":
			b, _ := call.Recv()
			for i := range number(b) {
				if err := call.Send(item(i % maxReply)); err != nil {
					return err
				}
			}
			return nil
		}
		return streams(ctx, call)
	})
	const n = 10 * abi.StreamWindow
	for range 3 {
		up, err := c.NewStream(t.Context(), "Upload", nil)
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			if err := up.Send(item(5)); err != nil {
				t.Fatal(err)
			}
		}
		if err := up.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if b, err := up.Recv(); err != nil || number(b) != n%maxReply {
			t.Fatalf("%x, %v", b, err)
		}

		down, err := c.NewStream(t.Context(), "Download", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := down.Send(item(n)); err != nil {
			t.Fatal(err)
		}
		for i := range uint64(n) {
			if b, err := down.Recv(); err != nil || number(b) != i%maxReply {
				t.Fatalf("item %d: %x, %v", i, b, err)
			}
		}
		if _, err := down.Recv(); err != io.EOF {
			t.Fatal(err)
		}

		chat, err := c.NewStream(t.Context(), "Chat", nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint64(n) {
			if err := chat.Send(item(i % maxReply)); err != nil {
				t.Fatal(err)
			}
			if b, err := chat.Recv(); err != nil || number(b) != i%maxReply {
				t.Fatalf("item %d: %x, %v", i, b, err)
			}
		}
		if err := chat.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if _, err := chat.Recv(); err != io.EOF {
			t.Fatal(err)
		}

		// A denied item ends the stream for its sender; the gate goes on.
		bad, err := c.NewStream(t.Context(), "Chat", nil)
		if err != nil {
			t.Fatal(err)
		}
		err = bad.Send(item(maxRequest + 1))
		if e := wantCode(t, err, gate.PermissionDenied); e.Policy != "not too many" {
			t.Fatalf("%+v", e)
		}
		_, err = bad.Recv()
		wantCode(t, err, gate.PermissionDenied)

		// So does a denied item of the answer.
		bad, err = c.NewStream(t.Context(), "Chat", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := bad.Send(item(maxReply + 1)); err != nil {
			t.Fatal(err)
		}
		_, err = bad.Recv()
		if e := wantCode(t, err, gate.PermissionDenied); !e.ReplyDenied {
			t.Fatalf("%+v", e)
		}
	}
	if c.Err() != nil {
		t.Fatal(c.Err())
	}
}

// A revoked gate refuses calls, throws away what was queued, and ends for both.
func TestRevocation(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	c, g, done := serveFiltered(t, func(ctx context.Context, call *gate.ServerCall) error {
		b, _ := call.Recv()
		if number(b) == 2 {
			close(entered)
			<-leave
		}
		return call.Send(b)
	})
	if _, err := c.Invoke(t.Context(), "Unary", item(1), nil); err != nil {
		t.Fatal(err) // positive control
	}
	pending := make(chan error, 1)
	go func() {
		_, err := c.Invoke(context.Background(), "Unary", item(2), nil)
		pending <- err
	}()
	<-entered
	if err := g.Revoke(); err != nil {
		t.Fatal(err)
	}
	close(leave) // the reply is denied: the server closes, the caller learns it
	wantCode(t, <-pending, gate.Unavailable)
	<-done
	_, err := c.Invoke(t.Context(), "Unary", item(1), nil)
	wantCode(t, err, gate.Unavailable)
}

// What was queued before a revocation is thrown away.
func TestQueuedBeforeRevocation(t *testing.T) {
	ce, se, g := filteredEnds(t)
	defer unix.Close(se.Socket)
	c, err := gate.NewClient(ce)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	st, err := c.NewStream(t.Context(), "Chat", nil)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, abi.HeaderSize)
	if _, err := unix.Read(se.Socket, b); err != nil {
		t.Fatal(err)
	}
	h, err := abi.ParseHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	h.Kind, h.Length = abi.KindStreamItem, 2
	h.Put(b)
	b = append(b, item(1)...)
	for range 2 {
		if err := unix.Send(se.Socket, b, 0); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := st.Recv(); err != nil || number(got) != 1 {
		t.Fatalf("positive control: %x, %v", got, err)
	}
	if err := g.Revoke(); err != nil {
		t.Fatal(err)
	}
	_, err = st.Recv()
	if e := wantCode(t, err, gate.Unavailable); !strings.Contains(e.Message, "revoked") {
		t.Errorf("got %v", e)
	}
}
