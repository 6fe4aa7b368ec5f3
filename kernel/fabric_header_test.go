package kernel

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/filter"
	"ward/image"
)

// streamImage has a method of each kind: 0 Unary (small reply), 1 Wide (unary
// with a looser reply), 2 Up, 3 Down, 4 Both.
func streamImage() *image.Image {
	img := echoImage()
	img.Messages = append(img.Messages, image.Message{Name: "test.v1.Wide", Fields: []image.Field{
		{Number: 1, Name: "n", Type: image.Uint32}, {Number: 2, Name: "text", Type: image.String, MaxLen: 100}}})
	img.Interfaces[0].Methods = []image.Method{
		{Name: "Unary", Request: 0, Reply: 1}, {Name: "Wide", Request: 0, Reply: 2},
		{Name: "Up", ClientStream: true, Request: 0, Reply: 1},
		{Name: "Down", ServerStream: true, Request: 0, Reply: 1},
		{Name: "Both", ClientStream: true, ServerStream: true, Request: 0, Reply: 1},
	}
	p := img.Routes[0].Methods[0]
	img.Routes[0].Methods = []image.MethodPolicy{p, p, p, p, p}
	img.Metadata = []image.Metadata{{Key: "traceparent", Max: 55}, {Key: "other", Max: 4}}
	return img
}

const (
	mUnary = iota
	mWide
	mUp
	mDown
	mBoth
)

func (g *gateTest) mustSend(dir abi.Direction, b []byte) {
	g.t.Helper()
	if got := g.send(dir, b); !bytes.Equal(got, b) {
		v := g.verdict(dir, binary.LittleEndian.Uint16(b[8:]))
		g.t.Fatalf("received %x of %x: reason %d detail %d", got, b, v.Reason(), v.Detail())
	}
}

// mustDeny expects that nothing arrives, and the reason on the page. The
// control: without a filter the same bytes arrive.
func (g *gateTest) mustDeny(dir abi.Direction, b []byte, want abi.Reason) {
	g.t.Helper()
	if got := newRawPair(g.t).send(g.t, b); !bytes.Equal(got, b) {
		g.t.Fatalf("control: received %x of %x", got, b)
	}
	slot, gen := binary.LittleEndian.Uint16(b[8:]), binary.LittleEndian.Uint16(b[10:])
	if got := g.send(dir, b); got != nil {
		g.t.Fatalf("received %x of %x", got, b)
	}
	if v := g.verdict(dir, slot); v.Reason() != want || v.Gen() != gen {
		g.t.Fatalf("%x: reason %d gen %d, want reason %d gen %d", b, v.Reason(), v.Gen(), want, gen)
	}
}

func TestHeaderRules(t *testing.T) {
	g := newGateTest(t, streamImage(), FabricConfig{Gates: 4, Programs: 4})
	raw := newRawPair(t)
	good := abi.Header{Kind: abi.KindCall, Slot: 5, Gen: 9}
	put := func(off int, b ...byte) []byte {
		m := message(good, nil)
		copy(m[off:], b)
		return m
	}
	for _, c := range []struct {
		name   string
		msg    []byte
		reason abi.Reason
		known  bool // the verdict stands on the slot; else word 1 counts
	}{
		{"empty packet", []byte{}, 0, false},
		{"short", message(good, nil)[:23], 0, false},
		{"version 0", put(0, 0), 0, false},
		{"version 2", put(0, 2), 0, false},
		{"slot beyond the table", put(8, 64, 0), 0, false},
		{"slot 65535", put(8, 255, 255), 0, false},
		{"kind 0", put(1, 0), abi.ReasonKind, true},
		{"kind 7", put(1, 7), abi.ReasonKind, true},
		{"kind 255", put(1, 255), abi.ReasonKind, true},
		{"a reply from the client", put(1, byte(abi.KindReply)), abi.ReasonKind, true},
		{"an error from the client", put(1, byte(abi.KindError)), abi.ReasonKind, true},
		{"an item for a unary method", put(1, byte(abi.KindStreamItem)), abi.ReasonKind, true},
		{"an end for a unary method", put(1, byte(abi.KindStreamEnd)), abi.ReasonKind, true},
		{"flag 2", put(2, 2), abi.ReasonFlags, true},
		{"flag 0x8000", put(2, 0, 0x80), abi.ReasonFlags, true},
		{"method 5", put(4, 5), abi.ReasonMethod, true},
		{"method 2^16", put(4, 0, 0, 1), abi.ReasonMethod, true},
		{"method 2^31", put(4, 0, 0, 0, 0x80), abi.ReasonMethod, true},
		{"length 1 of none", put(12, 1), abi.ReasonLength, true},
		{"length 0 of 2", append(message(good, nil), 8, 1), abi.ReasonLength, true},
		{"cancel without a call", put(1, byte(abi.KindCancel)), abi.ReasonNoCall, true},
		{"metadata flag without a section", put(2, 1), abi.ReasonMetadata, true},
		{"metadata longer than the message", message(abi.Header{Kind: abi.KindCall, Flags: 1, Slot: 5, Gen: 9}, []byte{1, 0}), abi.ReasonMetadata, true},
		{"undeclared metadata", message(abi.Header{Kind: abi.KindCall, Flags: 1, Slot: 5, Gen: 9}, append([]byte{3, 0}, lend(3, "x")...)), abi.ReasonMetadata, true},
		{"metadata too long", message(abi.Header{Kind: abi.KindCall, Flags: 1, Slot: 5, Gen: 9}, append([]byte{7, 0}, lend(2, "12345")...)), abi.ReasonMetadata, true},
		{"metadata twice", message(abi.Header{Kind: abi.KindCall, Flags: 1, Slot: 5, Gen: 9}, append([]byte{6, 0}, cat(lend(2, "1"), lend(2, "1"))...)), abi.ReasonMetadata, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			g.t = t
			if c.known {
				g.mustDeny(abi.Request, c.msg, c.reason)
				return
			}
			if len(c.msg) > 0 { // an empty packet looks like the end of the file
				if got := raw.send(t, c.msg); !bytes.Equal(got, c.msg) {
					t.Fatalf("control: received %x", got)
				}
			}
			before := g.word(abi.Request, 1)
			if got := g.send(abi.Request, c.msg); got != nil {
				t.Fatalf("received %x", got)
			}
			if n := g.word(abi.Request, 1) - before; n != 1 {
				t.Errorf("word 1 counted %d", n)
			}
		})
	}
	g.t = t
	g.mustSend(abi.Request, message(good, nil))
	md := append([]byte{7, 0}, cat(lend(1, "t"), lend(2, "1234"))...)
	md[0] = byte(len(md) - 2)
	g.mustSend(abi.Request, message(abi.Header{Kind: abi.KindCall, Flags: 1, Slot: 6, Gen: 9, Deadline: 1}, append(md, vint(1, 5)...)))
}

func TestCallTable(t *testing.T) {
	g := newGateTest(t, streamImage(), FabricConfig{Gates: 4, Programs: 4})
	call := func(m uint32, slot, gen uint16) []byte {
		return message(abi.Header{Kind: abi.KindCall, Method: m, Slot: slot, Gen: gen}, nil)
	}
	from := func(kind abi.Kind, m uint32, slot, gen uint16, body ...byte) []byte {
		return message(abi.Header{Kind: kind, Method: m, Slot: slot, Gen: gen}, body)
	}
	ok := []byte{8, 1}

	t.Run("unsolicited", func(t *testing.T) {
		g.t = t
		g.mustDeny(abi.Reply, from(abi.KindReply, mUnary, 1, 1), abi.ReasonNoCall)
		g.mustDeny(abi.Reply, from(abi.KindError, mUnary, 1, 1), abi.ReasonNoCall)
		g.mustDeny(abi.Reply, from(abi.KindStreamItem, mDown, 1, 1), abi.ReasonNoCall)
		g.mustDeny(abi.Request, from(abi.KindStreamItem, mUp, 1, 1), abi.ReasonNoCall)
	})
	t.Run("busy, stale, other method", func(t *testing.T) {
		g.t = t
		g.mustSend(abi.Request, call(mUnary, 2, 1))
		g.mustDeny(abi.Request, call(mUnary, 2, 2), abi.ReasonSlotBusy)
		g.mustDeny(abi.Reply, from(abi.KindReply, mUnary, 2, 2), abi.ReasonNoCall)
		// The other method's reply may hold text: its signature is looser.
		g.mustDeny(abi.Reply, from(abi.KindReply, mWide, 2, 1, lend(2, "secret")...), abi.ReasonNoCall)
		g.mustDeny(abi.Reply, message(abi.Header{Kind: abi.KindReply, Slot: 2, Gen: 1, Deadline: 5}, ok), abi.ReasonDeadline)
		g.mustDeny(abi.Reply, from(abi.KindStreamItem, mUnary, 2, 1), abi.ReasonKind)
		g.mustDeny(abi.Reply, from(abi.KindCall, mUnary, 2, 1), abi.ReasonKind)
		g.mustSend(abi.Reply, from(abi.KindReply, mUnary, 2, 1, ok...))
		g.mustDeny(abi.Reply, from(abi.KindReply, mUnary, 2, 1, ok...), abi.ReasonNoCall)
		g.mustSend(abi.Request, call(mWide, 2, 2))
		g.mustSend(abi.Reply, from(abi.KindReply, mWide, 2, 2, lend(2, "fine")...))
	})
	t.Run("error", func(t *testing.T) {
		g.t = t
		g.mustSend(abi.Request, call(mUnary, 3, 1))
		status := cat(vint(1, 7), lend(2, "no"), lend(3, string(cat(lend(1, "type.example/x"), lend(2, "\xff")))))
		g.mustSend(abi.Reply, from(abi.KindError, mUnary, 3, 1, status...))
		g.mustDeny(abi.Reply, from(abi.KindError, mUnary, 3, 1, status...), abi.ReasonNoCall)
		g.mustSend(abi.Request, call(mUnary, 3, 2))
		bad := from(abi.KindError, mUnary, 3, 2, lend(2, strings.Repeat("x", 1025))...)
		if got := g.send(abi.Reply, bad); !bytes.Equal(got, bad[:abi.HeaderSize]) {
			t.Errorf("denied error: received %x", got)
		}
	})
	t.Run("cancel", func(t *testing.T) {
		g.t = t
		g.mustSend(abi.Request, call(mBoth, 4, 1))
		g.mustSend(abi.Request, from(abi.KindCancel, mBoth, 4, 1))
		g.mustDeny(abi.Request, call(mBoth, 4, 2), abi.ReasonSlotBusy)
		g.mustDeny(abi.Request, from(abi.KindStreamItem, mBoth, 4, 1), abi.ReasonStreamDone)
		g.mustSend(abi.Reply, from(abi.KindError, mBoth, 4, 1))
		g.mustSend(abi.Request, call(mBoth, 4, 2))
		g.mustDeny(abi.Request, from(abi.KindCancel, mBoth, 4, 2, 0), abi.ReasonLength)
	})
	t.Run("client stream", func(t *testing.T) {
		g.t = t
		g.mustDeny(abi.Request, from(abi.KindCall, mUp, 5, 1, vint(1, 1)...), abi.ReasonLength)
		g.mustSend(abi.Request, call(mUp, 5, 1))
		if v := g.verdict(abi.Request, 5); v.Reason() != abi.ReasonAdmit {
			t.Errorf("opening: reason %d", v.Reason())
		}
		g.mustSend(abi.Request, from(abi.KindStreamItem, mUp, 5, 1, vint(1, 1024)...))
		g.mustDeny(abi.Request, from(abi.KindStreamItem, mUp, 5, 1, vint(1, 1025)...), abi.ReasonDefault)
		g.mustSend(abi.Request, from(abi.KindStreamEnd, mUp, 5, 1))
		g.mustDeny(abi.Request, from(abi.KindStreamItem, mUp, 5, 1), abi.ReasonStreamDone)
		g.mustDeny(abi.Reply, from(abi.KindStreamItem, mUp, 5, 1), abi.ReasonKind)
		g.mustSend(abi.Reply, from(abi.KindReply, mUp, 5, 1, ok...))
	})
	t.Run("server stream", func(t *testing.T) {
		g.t = t
		g.mustSend(abi.Request, call(mDown, 6, 1))
		g.mustDeny(abi.Request, from(abi.KindStreamItem, mDown, 6, 1), abi.ReasonKind)
		g.mustSend(abi.Reply, from(abi.KindStreamItem, mDown, 6, 1, ok...))
		bad := from(abi.KindStreamItem, mDown, 6, 1, 8, 2)
		if got := g.send(abi.Reply, bad); !bytes.Equal(got, bad[:abi.HeaderSize]) {
			t.Errorf("denied item: received %x", got)
		}
		g.mustSend(abi.Reply, from(abi.KindStreamItem, mDown, 6, 1, ok...))
		g.mustDeny(abi.Reply, from(abi.KindReply, mDown, 6, 1, ok...), abi.ReasonKind)
		g.mustSend(abi.Reply, from(abi.KindStreamEnd, mDown, 6, 1))
		g.mustDeny(abi.Reply, from(abi.KindStreamItem, mDown, 6, 1, ok...), abi.ReasonNoCall)
	})
	t.Run("full", func(t *testing.T) {
		g.t = t
		g.open()
		for s := range uint16(abi.Slots) {
			g.mustSend(abi.Request, call(mUnary, s, 1))
		}
		for s := range uint16(abi.Slots) {
			g.mustDeny(abi.Request, call(mUnary, s, 2), abi.ReasonSlotBusy)
		}
		g.mustSend(abi.Reply, from(abi.KindReply, mUnary, 63, 1, ok...))
		g.mustSend(abi.Request, call(mUnary, 63, 2))
	})
}

func TestPolicyDecides(t *testing.T) {
	img := echoImage()
	name := image.Operand{What: image.Scalar, Path: []uint32{2}}
	img.Policies = append(img.Policies, image.Policy{ID: "not bob", Forbid: true})
	img.Routes[0].Methods[0].Request.Forbid = []image.Rule{{Policy: 2, When: image.Expr{Op: image.Eq, Left: name,
		Right: image.Operand{Value: image.Value{IsString: true, String: "bob"}}}}}
	g := newGateTest(t, img, FabricConfig{Gates: 4, Programs: 4})
	for i, c := range []struct {
		body []byte
		want abi.VerdictWord
	}{
		{vint(1, 1024), abi.MakeVerdictWord(1, abi.ReasonPermit, abi.KindCall, 0)},
		{vint(1, 1025), abi.MakeVerdictWord(1, abi.ReasonDefault, abi.KindCall, abi.NoPolicy)},
		{lend(2, "bob"), abi.MakeVerdictWord(1, abi.ReasonForbid, abi.KindCall, 2)},
		{lend(2, "bobo"), abi.MakeVerdictWord(1, abi.ReasonPermit, abi.KindCall, 0)},
	} {
		g.send(abi.Request, message(abi.Header{Kind: abi.KindCall, Slot: uint16(i), Gen: 1}, c.body))
		if v := g.verdict(abi.Request, uint16(i)); v != c.want {
			t.Errorf("%x: verdict %x, want %x", c.body, v, c.want)
		}
	}
	// Denials are recorded with the parameters that the policy saw.
	if r := g.record(abi.Request); r.Reason != abi.ReasonDefault || r.Params[0] != 1025 || r.Present != 1 {
		t.Errorf("record: %+v", r)
	}
	if r := g.record(abi.Request); r.Reason != abi.ReasonForbid || r.Detail != 2 || string(r.Text) != "bob" || r.Params[1] != 3 {
		t.Errorf("record: %+v", r)
	}
	c, err := g.client.Counters()
	if err != nil || c != (Counters{Records: 2, Allowed: 2, Denied: 2}) {
		t.Errorf("counters: %+v %v", c, err)
	}
}

func TestReplaceRevokeClose(t *testing.T) {
	img := echoImage()
	g := newGateTest(t, img, FabricConfig{Gates: 2, Programs: 4})
	call := func(slot uint16) []byte {
		return message(abi.Header{Kind: abi.KindCall, Slot: slot, Gen: 1}, vint(1, 5))
	}
	g.mustSend(abi.Request, call(0))
	status := g.word(abi.Request, 0)

	img.Routes[0].Methods[0].Request.Permit[0].When.Right.Value.Long = 4
	spec, err := filter.Build(img, 0, filter.Atoms{User: -1})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.route.Replace(spec); err != nil {
		t.Fatal(err)
	}
	g.mustDeny(abi.Request, call(1), abi.ReasonDefault)
	for _, dir := range []abi.Direction{abi.Request, abi.Reply} {
		if s := g.word(dir, 0); uint32(s) != uint32(status)+1 || s&abi.PageRevoked != 0 {
			t.Errorf("status after a swap: %x, was %x", s, status)
		}
	}
	// The call that was pending before the swap is still.
	g.mustSend(abi.Reply, message(abi.Header{Kind: abi.KindReply, Gen: 1}, []byte{8, 1}))

	if err := g.gate.Revoke(); err != nil {
		t.Fatal(err)
	}
	g.mustDeny(abi.Request, call(2), abi.ReasonClosed)
	g.mustDeny(abi.Reply, message(abi.Header{Kind: abi.KindReply, Gen: 1}, nil), abi.ReasonClosed)
	for _, dir := range []abi.Direction{abi.Request, abi.Reply} {
		if s := g.word(dir, 0); uint32(s) != uint32(status)+2 || s&abi.PageRevoked == 0 {
			t.Errorf("status after a revocation: %x", s)
		}
	}

	// An end of a closed gate reaches nothing of the gate that gets its place.
	old := *g.gate
	if err := g.gate.Close(); err != nil {
		t.Fatal(err)
	}
	other, err := g.f.Open(g.route)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Client.Close()
	defer other.Server.Close()
	g.open()
	if g.gate.Index != old.Index {
		t.Fatalf("the new gate has index %d, want the old one's %d", g.gate.Index, old.Index)
	}
	if _, err := unix.Write(int(old.Client.Fd()), call(3)); err != nil {
		t.Fatal(err)
	}
	if v := g.verdict(abi.Request, 3); v != 0 {
		t.Errorf("the old end wrote %x to the new gate's block", v)
	}
	buf := make([]byte, 64)
	if n, err := unix.Read(int(old.Server.Fd()), buf); err != unix.EAGAIN {
		t.Errorf("the closed gate delivered %d bytes: %v", n, err)
	}
	if _, err := g.f.Open(g.route); err == nil {
		t.Error("a third gate on a fabric of two")
	}
}

func TestBlocksAreCleared(t *testing.T) {
	g := newGateTest(t, echoImage(), FabricConfig{Gates: 1, Programs: 4})
	first := g.gate.ClientBlock
	for range 5 { // more gates than the client has blocks
		g.mustSend(abi.Request, message(abi.Header{Kind: abi.KindCall, Slot: 7, Gen: 1}, nil))
		g.send(abi.Request, []byte("x"))
		status := g.word(abi.Request, 0)
		if err := g.gate.Close(); err != nil {
			t.Fatal(err)
		}
		g.open()
		if v, n := g.verdict(abi.Request, 7), g.word(abi.Request, 1); v != 0 || n != 0 {
			t.Fatalf("a new gate's block has verdict %x, count %d", v, n)
		}
		if s := g.word(abi.Request, 0); s&abi.PageRevoked != 0 || g.gate.ClientBlock == first && s == status {
			t.Fatalf("status of a new gate: %x", s)
		}
	}
}

// A filter that runs while its gate is closed writes its verdict where the
// gate's blocks were, until a grace period has passed, and not on block 0.
func TestClosedRowKeepsItsBlocks(t *testing.T) {
	g := newGateTest(t, echoImage(), FabricConfig{Gates: 2, Programs: 4})
	g.open() // the second gate: its blocks are not 0
	row := func() []byte {
		b, err := g.f.gates.LookupBytes(g.gate.Index)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	const blocks, incarnation = 24, 32 // struct gate
	open := row()
	if err := g.gate.Close(); err != nil {
		t.Fatal(err)
	}
	closed := row()
	if !bytes.Equal(open[blocks:incarnation], closed[blocks:incarnation]) || g.gate.ClientBlock == 0 {
		t.Errorf("blocks %x became %x", open[blocks:incarnation], closed[blocks:incarnation])
	}
	if binary.LittleEndian.Uint32(closed[incarnation:]) != 0 || binary.LittleEndian.Uint64(closed) != 1<<64-1 {
		t.Errorf("the row of a closed gate: %x", closed)
	}
}

func TestLostRecordsAreCounted(t *testing.T) {
	g := newGateTest(t, echoImage(), FabricConfig{Gates: 2, Programs: 4})
	const n = 2000
	for range n {
		if _, err := unix.Write(int(g.gate.Client.Fd()), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	c, err := g.client.Counters()
	if err != nil || c.Records != n || c.Lost == 0 || c.Denied != n {
		t.Fatalf("counters: %+v %v", c, err)
	}
	// Nobody else's ring is touched.
	if s, err := g.server.Counters(); err != nil || s != (Counters{}) {
		t.Errorf("the server's counters: %+v %v", s, err)
	}
	for i := range c.Records - c.Lost {
		if r := g.record(abi.Request); r.Seq != i+1 || r.Reason != abi.ReasonShort {
			t.Fatalf("record %d: %+v", i, r)
		}
	}
	g.send(abi.Request, []byte("x"))
	if r := g.record(abi.Request); r.Seq != n+1 {
		t.Errorf("the record after the loss has number %d, want %d", r.Seq, n+1)
	}
}

// cgroup2 is a cgroup v2 directory of the test's own, and its ID.
func cgroup2(t *testing.T) (dir string, id uint64) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			dir = f[1]
		}
	}
	if dir == "" {
		t.Skip("needs a cgroup v2 mount")
	}
	dir = filepath.Join(dir, "ward-test-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	return dir, binary.LittleEndian.Uint64(h.Bytes())
}

func TestSenderIsBoundToItsCgroup(t *testing.T) {
	g := newGateTest(t, echoImage(), FabricConfig{Gates: 2, Programs: 4})
	if !g.f.SenderChecked() {
		t.Skip("needs bpf_get_current_cgroup_id in socket filters: Linux 6.18")
	}
	dir, id := cgroup2(t)
	call := func(slot uint16) []byte {
		return message(abi.Header{Kind: abi.KindCall, Slot: slot, Gen: 1}, vint(1, 5))
	}
	// The control: unchecked, this process may send.
	g.mustSend(abi.Request, call(0))
	g.record0()
	g.client.cgroup = id
	g.open()
	before := g.word(abi.Request, 1)
	if got := g.send(abi.Request, call(1)); got != nil {
		t.Fatalf("a stranger's message was delivered: %x", got)
	}
	if v := g.verdict(abi.Request, 1); v != 0 || g.word(abi.Request, 1) != before+1 {
		t.Errorf("a stranger wrote the verdict %x; counted %d", v, g.word(abi.Request, 1)-before)
	}
	if r := g.record(abi.Request); r.Reason != abi.ReasonSender {
		t.Errorf("record: %+v", r)
	}
	// The twin: the same descriptor, from within the cgroup.
	home, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	enter := func(dir string) {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
			t.Fatal(err)
		}
	}
	back := filepath.Dir(dir)
	for line := range strings.Lines(string(home)) {
		if p, ok := strings.CutPrefix(line, "0::"); ok {
			back = filepath.Join(filepath.Dir(dir), strings.TrimSpace(p))
		}
	}
	enter(dir)
	defer enter(back)
	g.mustSend(abi.Request, call(1))
}

// record0 drops what the ring holds.
func (g *gateTest) record0() {
	for _, r := range g.rings {
		r.SetDeadline(time.Now())
		for {
			if _, err := r.Read(); err != nil {
				break
			}
		}
	}
}

func TestDescriptorsAreRefused(t *testing.T) {
	g := newGateTest(t, echoImage(), FabricConfig{Gates: 2, Programs: 4})
	raw := newRawPair(t)
	oob := unix.UnixRights(0)
	msg := message(abi.Header{Kind: abi.KindCall, Gen: 1}, vint(1, 5))
	if err := unix.Sendmsg(raw[0], msg, oob, nil, 0); err != nil {
		t.Fatalf("control: %v", err)
	}
	if _, err := unix.GetsockoptInt(raw[0], unix.SOL_SOCKET, soPassRights); err != nil {
		t.Skip("needs SO_PASSRIGHTS: Linux 6.16")
	}
	if err := unix.Sendmsg(int(g.gate.Client.Fd()), msg, oob, nil, 0); err != unix.EPERM {
		t.Errorf("sending a descriptor: %v, want EPERM", err)
	}
}

// A slot is claimed by one of many callers, and freed by one of many answers.
func TestOneOfManyWins(t *testing.T) {
	g := newGateTest(t, echoImage(), FabricConfig{Gates: 2, Programs: 4})
	const senders, rounds = 4, 300
	for gen := range uint16(rounds) {
		for _, dir := range []abi.Direction{abi.Request, abi.Reply} {
			h, body, from := abi.Header{Kind: abi.KindCall, Gen: gen}, vint(1, 5), g.gate.Client
			if dir == abi.Reply {
				h.Kind, body, from = abi.KindReply, vint(1, 1), g.gate.Server
			}
			msg := message(h, body)
			var wg sync.WaitGroup
			start := make(chan struct{})
			for range senders {
				wg.Go(func() {
					<-start
					unix.Write(int(from.Fd()), msg)
				})
			}
			close(start)
			wg.Wait()
			to := g.gate.Server
			if dir == abi.Reply {
				to = g.gate.Client
			}
			buf := make([]byte, 64)
			n := 0
			for {
				if _, err := unix.Read(int(to.Fd()), buf); err != nil {
					break
				}
				n++
			}
			if n != 1 {
				t.Fatalf("generation %d: %d of %d messages of kind %d arrived, want 1", gen, n, senders, h.Kind)
			}
		}
	}
}

func TestCredits(t *testing.T) {
	g := newGateTest(t, streamImage(), FabricConfig{Gates: 4, Programs: 4})
	credit := func(m uint32, slot uint16, body ...byte) []byte {
		return message(abi.Header{Kind: abi.KindCredit, Method: m, Slot: slot, Gen: 1}, body)
	}
	call := func(m uint32, slot uint16) []byte {
		return message(abi.Header{Kind: abi.KindCall, Method: m, Slot: slot, Gen: 1}, nil)
	}
	g.mustDeny(abi.Request, credit(mDown, 0), abi.ReasonNoCall)
	for slot, m := range []uint32{mUnary, mUp, mDown, mBoth} {
		slot := uint16(slot)
		g.mustSend(abi.Request, call(m, slot))
		if m == mDown || m == mBoth {
			g.mustSend(abi.Request, credit(m, slot))
			g.mustDeny(abi.Request, credit(m, slot, 0), abi.ReasonLength)
		} else {
			g.mustDeny(abi.Request, credit(m, slot), abi.ReasonKind)
		}
		if m == mUp || m == mBoth {
			g.mustSend(abi.Reply, credit(m, slot))
			g.mustDeny(abi.Reply, credit(m, slot, 0), abi.ReasonLength)
		} else {
			g.mustDeny(abi.Reply, credit(m, slot), abi.ReasonKind)
		}
		// A credit frees nothing.
		g.mustDeny(abi.Request, call(m, slot), abi.ReasonSlotBusy)
	}
}
