package kernel

import (
	"encoding/binary"
	"errors"
	"os"
	"reflect"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
	"ward/filter"
	"ward/image"
)

// needRoot skips a test that loads BPF programs.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: loads BPF programs")
	}
}

// gateTest is a gate of a small system, with both ends in this process.
type gateTest struct {
	t              testing.TB
	f              *Fabric
	client, server *Endpoint
	route          *Route
	gate           *Gate
	pages          [2][]byte
	rings          [2]*Ring
}

func newGateTest(t testing.TB, img *image.Image, cfg FabricConfig) *gateTest {
	t.Helper()
	needRoot(t)
	f, err := NewFabric(cfg)
	if err != nil {
		t.Fatal(err)
	}
	g := &gateTest{t: t, f: f}
	t.Cleanup(func() { f.Close() })
	end := func(id abi.DomainID) *Endpoint {
		e, err := f.AddEndpoint(id, 0, 4*cfg.Gates, 64<<10)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close() })
		return e
	}
	g.client, g.server = end(0), end(1)
	spec, err := filter.Build(img, 0, filter.Atoms{User: -1})
	if err != nil {
		t.Fatal(err)
	}
	if g.route, err = f.Load(spec, g.client, g.server); err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { g.route.Close() })
	for i, e := range []*Endpoint{g.client, g.server} {
		var err error
		g.pages[i], err = unix.Mmap(int(e.Page().Fd()), 0, int(4*cfg.Gates)*abi.PageBlock*8, unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Munmap(g.pages[i]) })
		if g.rings[i], err = OpenRing(e.Ring()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { g.rings[i].Close() })
	}
	g.open()
	return g
}

// open makes a new gate, nonblocking on both ends.
func (g *gateTest) open() {
	g.t.Helper()
	var err error
	if g.gate, err = g.f.Open(g.route); err != nil {
		g.t.Fatalf("%+v", err)
	}
	for _, f := range []*os.File{g.gate.Client, g.gate.Server} {
		if err := unix.SetNonblock(int(f.Fd()), true); err != nil {
			g.t.Fatal(err)
		}
		g.t.Cleanup(func() { f.Close() })
	}
}

// message is a packet with a header that fits its body.
func message(h abi.Header, body []byte) []byte {
	h.Length = uint32(len(body))
	b := make([]byte, abi.HeaderSize, abi.HeaderSize+len(body))
	h.Put(b)
	return append(b, body...)
}

// send sends from the client (dir Request) or the server and returns what the
// other end received, nil for nothing.
func (g *gateTest) send(dir abi.Direction, b []byte) []byte {
	g.t.Helper()
	from, to := g.gate.Client, g.gate.Server
	if dir == abi.Reply {
		from, to = to, from
	}
	if _, err := unix.Write(int(from.Fd()), b); err != nil {
		g.t.Fatalf("write: %v", err)
	}
	buf := make([]byte, abi.MaxMessage+1)
	n, err := unix.Read(int(to.Fd()), buf)
	if errors.Is(err, unix.EAGAIN) {
		return nil
	}
	if err != nil {
		g.t.Fatalf("read: %v", err)
	}
	return buf[:n]
}

// word reads a word of a page.
func (g *gateTest) word(dir abi.Direction, i int) uint64 {
	block := g.gate.ClientBlock
	if dir == abi.Reply {
		block = g.gate.ServerBlock
	}
	return binary.LittleEndian.Uint64(g.pages[dir][(int(block)*abi.PageBlock+i)*8:])
}

func (g *gateTest) verdict(dir abi.Direction, slot uint16) abi.VerdictWord {
	return abi.VerdictWord(g.word(dir, abi.PageSlots+int(slot)))
}

// record reads the next record of a sender.
func (g *gateTest) record(dir abi.Direction) abi.Record {
	g.t.Helper()
	g.rings[dir].SetDeadline(time.Now().Add(5 * time.Second))
	r, err := g.rings[dir].Read()
	if err != nil {
		g.t.Fatalf("record: %v", err)
	}
	return r
}

// echoImage is a system of one interface: Echo(width uint32 <= 4096, name
// string <= 64) returns (ok bool); the policy admits width <= 1024.
func echoImage() *image.Image {
	return &image.Image{
		Name:    "test",
		Domains: []image.Domain{{Name: "client"}, {Name: "server"}},
		Interfaces: []image.Interface{{Name: "test.v1.Echo", Methods: []image.Method{
			{Name: "Echo", Request: 0, Reply: 1},
		}}},
		Messages: []image.Message{
			{Name: "test.v1.Request", Fields: []image.Field{
				{Number: 1, Name: "width", Type: image.Uint32, HasRange: true, Max: 4096},
				{Number: 2, Name: "name", Type: image.String, MaxLen: 64},
			}},
			{Name: "test.v1.Reply", Fields: []image.Field{
				{Number: 1, Name: "ok", Type: image.Bool, HasRange: true, Max: 1},
			}},
		},
		Policies: []image.Policy{{ID: "small"}, {ID: "replies"}},
		Routes: []image.Route{{Client: 0, Server: 1, Methods: []image.MethodPolicy{{
			Request: image.Decision{Permit: []image.Rule{{Policy: 0, When: image.Expr{Op: image.LessEq,
				Left:  image.Operand{What: image.Scalar, Path: []uint32{1}},
				Right: image.Operand{Value: image.Value{Long: 1024}}}}}},
			Reply: image.Decision{Permit: []image.Rule{{Policy: 1, When: image.Expr{Op: image.True}}}},
		}}}},
	}
}

func TestGateEndToEnd(t *testing.T) {
	img := echoImage()
	when := &img.Routes[0].Methods[0].Request.Permit[0].When
	*when = image.Expr{Op: image.And, Args: []image.Expr{*when, {Op: image.Prefix, Left: image.Operand{What: image.Scalar, Path: []uint32{2}},
		Right: image.Operand{Value: image.Value{IsString: true, String: "gr"}}}}}
	g := newGateTest(t, img, FabricConfig{Gates: 4, Programs: 4, AuditAll: true})
	body := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 800)
	body = protowire.AppendString(protowire.AppendTag(body, 2, protowire.BytesType), "größe")
	call := message(abi.Header{Kind: abi.KindCall, Slot: 3, Gen: 7, Deadline: 99}, body)
	if got := g.send(abi.Request, call); string(got) != string(call) {
		t.Fatalf("call: received %x, verdict %v %v", got, g.verdict(abi.Request, 3).Reason(), g.verdict(abi.Request, 3).Detail())
	}
	if v := g.verdict(abi.Request, 3); v != abi.MakeVerdictWord(7, abi.ReasonPermit, abi.KindCall, 0) {
		t.Fatalf("verdict of the call: %x", v)
	}
	got := g.record(abi.Request)
	if got.Time == 0 {
		t.Error("a record without a time")
	}
	got.Time = 0
	if want := (abi.Record{Seq: 1, Gate: g.gate.Index, From: 0, To: 1, Route: 0, Method: 0, Slot: 3, Gen: 7, Kind: abi.KindCall, Dir: abi.Request,
		Reason: abi.ReasonPermit, Detail: 0, Length: uint32(len(call)), Present: 3, Params: []uint64{800, 7}, Text: []byte("größe")}); !reflect.DeepEqual(got, want) {
		t.Fatalf("record of the call:\n%+v, want\n%+v", got, want)
	}
	// A reply that is not one is cut to its header, and ends the call.
	bad := message(abi.Header{Kind: abi.KindReply, Slot: 3, Gen: 7}, []byte{8, 2})
	if got := g.send(abi.Reply, bad); string(got) != string(bad[:abi.HeaderSize]) {
		t.Fatalf("denied reply: received %x", got)
	}
	if v := g.verdict(abi.Reply, 3); v != abi.MakeVerdictWord(7, abi.ReasonWidth, abi.KindReply, 1) {
		t.Fatalf("verdict of the reply: %x", v)
	}
	good := message(abi.Header{Kind: abi.KindReply, Slot: 3, Gen: 7}, []byte{8, 1})
	if got := g.send(abi.Reply, good); got != nil {
		t.Fatalf("a second reply was delivered: %x", got)
	}
	if v := g.verdict(abi.Reply, 3); v.Reason() != abi.ReasonNoCall {
		t.Fatalf("verdict of the second reply: %x", v)
	}
}
