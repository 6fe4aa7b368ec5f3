package gate_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
	"ward/gate"
	"ward/gate/gatetest"
)

// handleBytes is a message with a handle in field 1, and back.
func handleBytes(h gate.Handle) []byte {
	var b []byte
	for i, v := range []uint64{h.ID, uint64(h.Kind), h.Size, protowire.EncodeBool(h.Write)} {
		b = protowire.AppendVarint(protowire.AppendTag(b, protowire.Number(i+1), protowire.VarintType), v)
	}
	return b
}

func parseHandle(t *testing.T, b []byte) (h gate.Handle) {
	t.Helper()
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 || typ != protowire.VarintType {
			t.Fatalf("no handle: %x", b)
		}
		v, m := protowire.ConsumeVarint(b[n:])
		b = b[n+m:]
		switch num {
		case 1:
			h.ID = v
		case 2:
			h.Kind = abi.HandleKind(v)
		case 3:
			h.Size = v
		case 4:
			h.Write = v == 1
		}
	}
	return h
}

// handles serves: "Unary" answers with what the function makes of the request.
type handles func(ctx context.Context, request []byte) ([]byte, error)

func (f handles) Handle(ctx context.Context, call *gate.ServerCall) error {
	b, err := call.Recv()
	if err != nil {
		return err
	}
	if b, err = f(ctx, b); err != nil {
		return err
	}
	return call.Send(b)
}

// pass starts a server and opens a gate to it.
func pass(t *testing.T, server, client *gate.Domain, h handles) *gate.Client {
	t.Helper()
	s, err := server.Start(t.Context(), iface, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	c, err := client.Open(t.Context(), iface)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func filled(t *testing.T, d *gate.Domain, text string) *gate.Memory {
	t.Helper()
	m, err := d.Make(t.Context(), "frames", len(text))
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	copy(b, text)
	return m
}

// A server gives memory in a reply, to be read only.
func TestHandleInReply(t *testing.T) {
	m := memoryMonitor(t)
	maker, taker := m.Domain("maker"), m.Domain("taker")
	c := pass(t, maker, taker, func(ctx context.Context, _ []byte) ([]byte, error) {
		mem := filled(t, maker, "hello")
		// As long as the maker can write it, nobody is told that it stays as it is.
		_, err := gate.OfferTo(ctx, mem, gate.ReadOnly)
		if e := wantCode(t, err, gate.FailedPrecondition); !strings.Contains(e.Message, "unmap it first") {
			t.Errorf("%v", e)
		}
		if err := mem.Unmap(); err != nil {
			t.Error(err)
		}
		h, err := gate.OfferTo(ctx, mem, gate.ReadOnly)
		if err != nil {
			return nil, err
		}
		if mem.Writable() || !mem.Constant() {
			t.Error("the maker may write what it has given away to be read")
		}
		b, err := mem.Bytes()
		if err != nil || string(b) != "hello" {
			t.Errorf("%q, %v", b, err)
		}
		mem.Close() // the offer holds it
		return handleBytes(h), nil
	})
	reply, err := c.Invoke(t.Context(), "Unary", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	h := parseHandle(t, reply)
	if want := (gate.Handle{ID: h.ID, Kind: abi.HandleMemory, Size: 5}); h != want {
		t.Errorf("%+v", h)
	}
	mem, err := c.Redeem(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	b, err := mem.Bytes()
	if err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
	if mem.Writable() || !mem.Constant() {
		t.Errorf("writable %v, constant %v", mem.Writable(), mem.Constant())
	}
	if err := unix.Mprotect(b, unix.PROT_READ|unix.PROT_WRITE); err == nil {
		b[0] = 'j' // a copy of its own: nobody else sees it
		if again, _ := mem.File().ReadAt(make([]byte, 1), 0); again != 1 {
			t.Error("unreadable")
		}
		var first [1]byte
		mem.File().ReadAt(first[:], 0)
		if first[0] != 'h' {
			t.Error("a write to constant memory got through")
		}
	}
	if _, err := mem.File().WriteAt([]byte{1}, 0); !errors.Is(err, unix.EBADF) {
		t.Errorf("write: %v", err)
	}

	_, err = c.Redeem(t.Context(), h)
	wantCode(t, err, gate.PermissionDenied)
	h.ID = 0
	_, err = c.Redeem(t.Context(), h)
	wantCode(t, err, gate.InvalidArgument)
	mem.Close()
	settle(t, maker, taker)
	if n := m.References("maker") + m.References("taker") + m.Offers(); n != 0 {
		t.Errorf("%d references and offers are left", n)
	}
}

// A client gives memory in a request, to be written, too, and it comes on to a third.
func TestHandleInRequest(t *testing.T) {
	m := memoryMonitor(t)
	maker, taker := m.Domain("maker"), m.Domain("taker")
	kept := make(chan *gate.Memory, 1)
	c := pass(t, taker, maker, func(ctx context.Context, b []byte) ([]byte, error) {
		// The context of a handler may be wrapped.
		ctx, cancel := context.WithCancel(context.WithValue(ctx, t, 1))
		defer cancel()
		mem, err := gate.Redeem(ctx, parseHandle(t, b))
		if err != nil {
			return nil, err
		}
		page, err := mem.Bytes()
		if err != nil {
			return nil, err
		}
		page[0] = 'j'
		kept <- mem
		return nil, mem.Unmap()
	})
	mem := filled(t, maker, "hello")
	h, err := c.Offer(t.Context(), mem, gate.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	if !h.Write {
		t.Errorf("%v", h)
	}
	if _, err := c.Invoke(t.Context(), "Unary", handleBytes(h), nil); err != nil {
		t.Fatal(err)
	}
	if b, err := mem.Bytes(); err != nil || string(b) != "jello" {
		t.Errorf("%q, %v", b, err)
	}
	if err := mem.Unmap(); err != nil {
		t.Error(err)
	}

	// Who was given it gives it on, to be read: that seals it for the maker, too.
	third := m.Domain("third")
	given := <-kept
	s, err := third.Start(t.Context(), "test.v1.Third", handles(func(ctx context.Context, b []byte) ([]byte, error) {
		got, err := gate.Redeem(ctx, parseHandle(t, b))
		if err != nil {
			return nil, err
		}
		defer got.Close()
		page, err := got.Bytes()
		return bytes.Clone(page), err
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	on, err := taker.Open(t.Context(), "test.v1.Third")
	if err != nil {
		t.Fatal(err)
	}
	defer on.Close()
	_, err = on.Offer(t.Context(), given, gate.ReadWrite) // third may not write
	if e := wantCode(t, err, gate.PermissionDenied); e.Message != "offer memory to third: default deny: no policy lets third open it" {
		t.Errorf("%v", e)
	}
	if h, err = on.Offer(t.Context(), given, gate.ReadOnly); err != nil {
		t.Fatal(err)
	}
	// Another gate does not give it, nor the end that offered it.
	_, err = c.Redeem(t.Context(), h)
	wantCode(t, err, gate.PermissionDenied)
	_, err = on.Redeem(t.Context(), h)
	wantCode(t, err, gate.PermissionDenied)
	if b, err := on.Invoke(t.Context(), "Unary", handleBytes(h), nil); err != nil || string(b) != "jello" {
		t.Errorf("%q, %v", b, err)
	}
	if mem.Writable() || given.Writable() {
		t.Error("it is sealed, and may be written")
	}
	if b, err := mem.Bytes(); err != nil || string(b) != "jello" {
		t.Errorf("%q, %v", b, err)
	}
	given.Close()
	mem.Close()
}

func TestRetract(t *testing.T) {
	m := memoryMonitor(t)
	maker, taker, third := m.Domain("maker"), m.Domain("taker"), m.Domain("third")
	declined := make(chan error, 1)
	c := pass(t, taker, maker, func(ctx context.Context, b []byte) ([]byte, error) {
		if len(b) > 0 {
			declined <- gate.Retract(ctx, parseHandle(t, b))
		}
		return nil, nil
	})
	other, err := third.Open(t.Context(), iface)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	mem := filled(t, maker, "x")
	defer mem.Close()
	mem.Unmap()
	offer := func() gate.Handle {
		t.Helper()
		h, err := c.Offer(t.Context(), mem, gate.ReadOnly)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	h := offer()
	wantCode(t, other.Retract(t.Context(), h), gate.PermissionDenied) // not of its gate
	if n := m.Offers(); n != 1 {
		t.Errorf("%d offers", n)
	}
	if err := c.Retract(t.Context(), h); err != nil {
		t.Error(err)
	}
	if n := m.Offers(); n != 0 {
		t.Errorf("%d offers", n)
	}
	wantCode(t, c.Retract(t.Context(), h), gate.PermissionDenied)

	// Who does not want it says so.
	if _, err := c.Invoke(t.Context(), "Unary", handleBytes(offer()), nil); err != nil {
		t.Error(err)
	}
	if err := <-declined; err != nil || m.Offers() != 0 {
		t.Errorf("%v, %d offers", err, m.Offers())
	}
}

// What cannot be offered or redeemed here is said without asking anybody.
func TestHandleElsewhere(t *testing.T) {
	m := memoryMonitor(t)
	maker, taker := m.Domain("maker"), m.Domain("taker")
	c := pass(t, taker, maker, func(context.Context, []byte) ([]byte, error) { return nil, nil })
	mem := filled(t, maker, "x")
	m.Refuse = func(string, *abi.Control) (abi.Reason, string) {
		t.Error("the monitor was asked")
		return abi.ReasonDefault, ""
	}
	foreign, err := c.Offer(t.Context(), mem, 4)
	if wantCode(t, err, gate.InvalidArgument); foreign.ID != 0 {
		t.Errorf("%v", foreign)
	}
	_, err = gate.OfferTo(t.Context(), mem, gate.ReadOnly)
	wantCode(t, err, gate.FailedPrecondition)
	_, err = gate.Redeem(t.Context(), gate.Handle{ID: 1, Kind: abi.HandleMemory, Size: 1})
	wantCode(t, err, gate.FailedPrecondition)
	wantCode(t, gate.Retract(t.Context(), gate.Handle{}), gate.FailedPrecondition)
	_, err = c.Redeem(t.Context(), gate.Handle{ID: 1, Size: 1})
	wantCode(t, err, gate.InvalidArgument)
	_, err = c.Redeem(t.Context(), gate.Handle{ID: 1, Kind: abi.HandleMemory, Size: 1 << 40})
	wantCode(t, err, gate.InvalidArgument)
	_, err = c.Offer(t.Context(), nil, gate.ReadOnly)
	wantCode(t, err, gate.InvalidArgument)

	// A program outside Ward.
	ce, se := gatetest.Pair(t)
	unix.Close(se.Socket)
	outside, err := gate.NewClient(ce)
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	_, err = outside.Offer(t.Context(), mem, gate.ReadOnly)
	if e := wantCode(t, err, gate.FailedPrecondition); !strings.Contains(e.Message, "outside Ward") {
		t.Error(e)
	}
	_, err = outside.Redeem(t.Context(), gate.Handle{ID: 1, Kind: abi.HandleMemory, Size: 1})
	wantCode(t, err, gate.FailedPrecondition)
	m.Refuse = nil
}

// Answers to offers and redemptions that are not what was asked for.
func TestHostileOffers(t *testing.T) {
	m := memoryMonitor(t)
	maker, taker := m.Domain("maker"), m.Domain("taker")
	c := pass(t, maker, taker, func(ctx context.Context, _ []byte) ([]byte, error) {
		mem := filled(t, maker, "hello")
		mem.Unmap()
		h, err := gate.OfferTo(ctx, mem, gate.ReadWrite)
		if err == nil {
			h.Write = false // as if it had been offered so
		}
		return handleBytes(h), err
	})
	// The memory comes as writable: its receiver would take for constant what is not.
	reply, err := c.Invoke(t.Context(), "Unary", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	h := parseHandle(t, reply)
	_, err = c.Redeem(t.Context(), h)
	wantCode(t, err, gate.Internal)

	// It is said to be read-only, and somebody may write it.
	m.Tamper = func(request, answer *abi.Control, fds []int) []int {
		if request.Op == abi.OpRedeem {
			answer.Access = abi.AccessRead
		}
		return fds
	}
	if reply, err = c.Invoke(t.Context(), "Unary", nil, nil); err != nil {
		t.Fatal(err)
	}
	_, err = c.Redeem(t.Context(), parseHandle(t, reply))
	if e := wantCode(t, err, gate.Internal); !strings.Contains(e.Message, "memory that may be written") {
		t.Error(e)
	}

	// It has another size than the handle says.
	m.Tamper = nil
	if reply, err = c.Invoke(t.Context(), "Unary", nil, nil); err != nil {
		t.Fatal(err)
	}
	h = parseHandle(t, reply)
	h.Write, h.Size = true, 4
	_, err = c.Redeem(t.Context(), h)
	wantCode(t, err, gate.Internal)

	// Offers without a number, or with something beside.
	for _, tamper := range []func(answer *abi.Control) []int{
		func(a *abi.Control) []int { a.Handle = 0; return nil },
		func(a *abi.Control) []int { a.Op = abi.OpObject; return nil },
		func(*abi.Control) []int {
			fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Error(err)
			}
			return []int{fd}
		},
	} {
		m.Tamper = func(request, answer *abi.Control, fds []int) []int {
			if request.Op == abi.OpOffer {
				return tamper(answer)
			}
			return fds
		}
		_, err = c.Invoke(t.Context(), "Unary", nil, nil)
		wantCode(t, err, gate.Internal)
	}
	m.Tamper = nil
	settle(t, taker)
	if n := m.References("taker"); n != 0 {
		t.Errorf("%d references are left of what was not taken", n)
	}
}
