package gate_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/gate"
	"ward/gate/gatetest"
)

const iface = "test.v1.Test"

func TestOpenAndServe(t *testing.T) {
	m := gatetest.NewMonitor(t)
	server, client := m.Domain("server"), m.Domain("client")
	if client.Name() != "client" || client.System() != "test" {
		t.Errorf("domain %q of %q", client.Name(), client.System())
	}

	_, err := client.Open(t.Context(), iface)
	if e := wantCode(t, err, gate.NotFound); !strings.Contains(e.Message, "open "+iface) {
		t.Errorf("got %v", e)
	}

	// A client that waits gets its gate when the server has come.
	opened := make(chan *gate.Client, 1)
	go func() {
		c, err := client.Open(context.Background(), iface, gate.Wait())
		if err != nil {
			t.Error(err)
		}
		opened <- c
	}()
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, iface, gate.HandlerFunc(echo)) }()
	c := <-opened
	if c == nil {
		t.FailNow()
	}
	if b, err := c.Invoke(t.Context(), "Unary", []byte("x"), nil); err != nil || string(b) != "x" {
		t.Fatalf("%q, %v", b, err)
	}
	if c.Peer().Name != "server" || c.Interface() != iface {
		t.Errorf("peer %+v of %s", c.Peer(), c.Interface())
	}
	direct, err := client.Open(t.Context(), iface, gate.At("server"))
	if err != nil {
		t.Fatal(err)
	}
	direct.Close()

	// The end of the service: withdrawn, its gates closed.
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	_, err = c.Invoke(t.Context(), "Unary", nil, nil)
	wantCode(t, err, gate.Unavailable)
	_, err = client.Open(t.Context(), iface)
	wantCode(t, err, gate.NotFound)
	_, err = client.Open(t.Context(), iface, gate.At("server"))
	wantCode(t, err, gate.Unavailable)
}

func TestRefusalsReadWell(t *testing.T) {
	m := gatetest.NewMonitor(t)
	m.Refuse = func(client string, c *abi.Control) (abi.Reason, string) {
		switch {
		case c.Op == abi.OpServe:
			return abi.ReasonDefault, ""
		case c.Name == "a":
			return abi.ReasonDefault, ""
		case c.Name == "b":
			return abi.ReasonForbid, "not from here"
		case c.Name == "c":
			return abi.ReasonUnknownInterface, ""
		}
		return abi.ReasonNone, ""
	}
	d := m.Domain("invalid-client")
	for server, want := range map[string]struct {
		code gate.Code
		text string
	}{
		"a": {gate.PermissionDenied, "open picture.v1.Pictures at a: default deny: no policy lets invalid-client call it"},
		"b": {gate.PermissionDenied, `open picture.v1.Pictures at b: forbidden by policy "not from here"`},
		"c": {gate.NotFound, "open picture.v1.Pictures at c: no domain offers this interface"},
	} {
		_, err := d.Open(t.Context(), "picture.v1.Pictures", gate.At(server))
		if e := wantCode(t, err, want.code); e.Message != want.text || !e.Denied() {
			t.Errorf("%+v", e)
		}
	}
	err := d.Serve(t.Context(), "picture.v1.Pictures", gate.HandlerFunc(echo))
	if e := wantCode(t, err, gate.PermissionDenied); !strings.Contains(e.Message, "does not export it") {
		t.Errorf("got %v", e)
	}
}

// The monitor dies: gates go on, nothing new is granted, and nobody hangs.
func TestMonitorDies(t *testing.T) {
	m := gatetest.NewMonitor(t)
	server, client := m.Domain("server"), m.Domain("client")
	s, err := server.Start(t.Context(), iface, gate.HandlerFunc(echo))
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Open(t.Context(), iface)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m.Kill()
	_, err = client.Open(t.Context(), iface, gate.At("server"))
	wantCode(t, err, gate.Unavailable)
	if _, err := c.Invoke(t.Context(), "Unary", nil, nil); err != nil {
		t.Errorf("an open gate does not go on: %v", err)
	}
	s.Close()
}

func TestDrain(t *testing.T) {
	m := gatetest.NewMonitor(t)
	server, client := m.Domain("server"), m.Domain("client")
	b := newBlocker()
	s, err := server.Start(t.Context(), iface, gate.HandlerFunc(b.handle))
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Open(t.Context(), iface)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	result := make(chan error, 1)
	go func() {
		_, err := c.Invoke(context.Background(), "Unary", []byte("block"), nil)
		result <- err
	}()
	<-b.entered
	drained := make(chan struct{})
	go func() { s.Drain(context.Background()); close(drained) }()
	for { // until the drain has begun
		if _, err := c.Invoke(t.Context(), "Unary", nil, nil); err != nil {
			wantCode(t, err, gate.Unavailable)
			break
		}
	}
	select {
	case <-drained:
		t.Error("drained while a call runs")
	default:
	}
	close(b.leave)
	if err := <-result; err != nil {
		t.Errorf("the call that ran: %v", err)
	}
	<-drained
	s.Close()
}

// A program outside Ward is sent its gate over the socket of an export.
func TestDialSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "export.sock")
	lis, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(lis)
	if err := unix.Bind(lis, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(lis, 8); err != nil {
		t.Fatal(err)
	}
	_, err = gate.DialSocket(t.Context(), path+"x")
	wantCode(t, err, gate.Unavailable)

	answers := make(chan func(conn int), 1)
	go func() {
		for f := range answers {
			conn, _, err := unix.Accept(lis)
			if err != nil {
				return
			}
			f(conn)
			unix.Close(conn)
		}
	}()
	defer close(answers)

	answers <- func(conn int) {
		b, _ := (&abi.Control{Op: abi.OpRefused, Reason: abi.ReasonForbid, Text: "nobody"}).AppendTo(nil)
		unix.Write(conn, b)
	}
	_, err = gate.DialSocket(t.Context(), path)
	if e := wantCode(t, err, gate.PermissionDenied); e.Policy != "nobody" {
		t.Errorf("%+v", e)
	}

	// A monitor that says nothing holds nobody beyond its deadline.
	silent := make(chan struct{})
	answers <- func(int) { <-silent }
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	_, err = gate.DialSocket(ctx, path)
	cancel()
	close(silent)
	wantCode(t, err, gate.DeadlineExceeded)

	if _, err := gate.Self(); err == nil || !strings.Contains(err.Error(), "ward up") {
		t.Errorf("Self outside Ward: %v", err)
	}
}
