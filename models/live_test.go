package models_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"

	"ward/abi"
	"ward/filter"
	"ward/image"
	"ward/kernel"
)

// fabric is the gates of a system in the kernel, with both ends in this process.
type fabric struct {
	t     *testing.T
	img   *image.Image
	f     *kernel.Fabric
	gates map[[2]string]*kernel.Gate
	slots map[[2]string]uint16
}

// loaded loads every route between domains, and opens a gate on each.
func loaded(t *testing.T, img *image.Image) *fabric {
	t.Helper()
	f, err := kernel.NewFabric(kernel.FabricConfig{Gates: 16, Programs: 32, Words: img.Words})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	for w := range img.Words {
		if err := f.SetState(w, 1<<image.StateBits-1, img.Initial(w)); err != nil {
			t.Fatal(err)
		}
	}
	res := &fabric{t, img, f, map[[2]string]*kernel.Gate{}, map[[2]string]uint16{}}
	var ends []*kernel.Endpoint
	for i := range img.Domains {
		e, err := f.AddEndpoint(abi.DomainID(i), 0, 8, 4096)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close() })
		ends = append(ends, e)
	}
	for i := range img.Routes {
		r := &img.Routes[i]
		if img.Domains[r.Server].Names {
			continue
		}
		spec, err := filter.Build(img, uint32(i), filter.Atoms{User: -1})
		if err != nil {
			t.Fatal(err)
		}
		route, err := f.Load(spec, ends[r.Client], ends[r.Server])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { route.Close() })
		g, err := f.Open(route)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { g.Client.Close(); g.Server.Close() })
		res.gates[[2]string{img.Domains[r.Client].Name, img.Domains[r.Server].Name}] = g
	}
	return res
}

// call sends a call and, if it arrives, its reply: whether each was delivered whole.
func (f *fabric) call(client, server string, method int) (call, reply bool) {
	f.t.Helper()
	key := [2]string{client, server}
	g := f.gates[key]
	if g == nil {
		return false, false
	}
	h := abi.Header{Kind: abi.KindCall, Method: uint32(method), Slot: f.slots[key], Gen: 1}
	f.slots[key]++
	if call = f.send(g.Client, g.Server, h); !call {
		return false, false
	}
	h.Kind = abi.KindReply
	return true, f.send(g.Server, g.Client, h)
}

// fail sends two calls, with the field 1 = 5 if that is in the request, and answers
// them with an error: whether one that is a code was delivered, and one with a message.
func (f *fabric) fail(client, server string, method int) (code, text bool) {
	f.t.Helper()
	key := [2]string{client, server}
	g := f.gates[key]
	one := func(body string) bool {
		h := abi.Header{Kind: abi.KindCall, Method: uint32(method), Slot: f.slots[key], Gen: 1}
		f.slots[key]++
		request := []byte{8, 5}
		if len(f.img.Messages[f.img.Interfaces[f.img.Routes[0].Interface].Methods[method].Request].Fields) == 0 {
			request = nil
		}
		if !f.packet(g.Client, g.Server, h, request) {
			f.t.Fatalf("%s to %s: the call is denied", client, server)
		}
		h.Kind = abi.KindError
		return f.packet(g.Server, g.Client, h, []byte(body))
	}
	return one("\x08\x05"), one("\x08\x05\x12\x06secret")
}

// send sends a message with the field 1 = 5.
func (f *fabric) send(from, to *os.File, h abi.Header) bool {
	f.t.Helper()
	return f.packet(from, to, h, []byte{8, 5})
}

// packet writes a message, and reads what came of it. The filter has run when
// the write returns, so nothing has to be waited for.
func (f *fabric) packet(from, to *os.File, h abi.Header, body []byte) bool {
	f.t.Helper()
	h.Length = uint32(len(body))
	packet := make([]byte, abi.HeaderSize, abi.HeaderSize+len(body))
	h.Put(packet)
	packet = append(packet, body...)
	if _, err := syscall.Write(int(from.Fd()), packet); err != nil {
		f.t.Fatal(err)
	}
	got := make([]byte, 256)
	n, _, err := syscall.Recvfrom(int(to.Fd()), got, syscall.MSG_DONTWAIT)
	if errors.Is(err, syscall.EAGAIN) {
		return false
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return n == len(packet) && slices.Equal(got[:n], packet)
}

// The low-water mark and dynamic separation of duty as the kernel keeps them:
// the state is in its maps, and its filters change it.
func TestLiveState(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: loads BPF programs")
	}
	t.Run("low-water-mark", func(t *testing.T) {
		const yaml = "ward: 1\nname: t\ninterfaces: [t.proto]\npolicy: [p.cedar]\nuse: [ward/low-water-mark]\ndomains:\n" +
			"  high: {program: /h, label: {integrity: 2}, exports: [t.v1.T]}\n" +
			"  middle: {program: /m, label: {integrity: 1}, exports: [t.v1.T]}\n" +
			"  low: {program: /l, exports: [t.v1.T]}\n" +
			"  worker: {program: /w, label: {integrity: 2}}\n"
		fsys := files(yaml, proto(1), everything)
		kernelState, control := loaded(t, compiled(t, fsys)), loaded(t, without(t, fsys))
		for i, s := range []struct {
			from, to string
			want     bool
		}{
			{"worker", "high", true}, {"low", "high", false}, {"middle", "high", false},
			{"worker", "middle", true}, // sinks to 1
			{"worker", "high", false}, {"worker", "middle", true},
			{"worker", "low", true}, // to 0
			{"worker", "middle", false}, {"worker", "low", true}, {"worker", "high", false},
			{"high", "low", true},    // the server sinks, too
			{"worker", "high", true}, // and is no longer above
		} {
			call, reply := kernelState.call(s.from, s.to, 0)
			if call != s.want || reply != s.want {
				t.Errorf("step %d: %s to %s: call %v, reply %v, want %v", i, s.from, s.to, call, reply, s.want)
			}
			if call, reply := control.call(s.from, s.to, 0); !call || !reply {
				t.Errorf("control, step %d: call %v, reply %v", i, call, reply)
			}
		}
	})
	t.Run("separation of duty", func(t *testing.T) {
		f := loaded(t, compiled(t, files(duties, proto(4), "")))
		for i, s := range []struct {
			from   string
			method int
			want   bool
		}{
			{"both", 0, true}, {"both", 1, false}, {"both", 3, true}, {"both", 1, false},
			{"other", 1, true}, {"other", 0, false}, {"other", 3, false}, {"one", 1, true}, {"one", 0, false},
		} {
			if call, reply := f.call(s.from, "server", s.method); call != s.want || reply != s.want {
				t.Errorf("step %d: %s calls M%d: call %v, reply %v, want %v", i, s.from, s.method, call, reply, s.want)
			}
		}
	})
	t.Run("secrecy", func(t *testing.T) {
		const yaml = "ward: 1\nname: t\ninterfaces: [t.proto]\npolicy: [p.cedar]\nuse: [ward/mls]\ndomains:\n" +
			"  s: {program: /s, label: {level: 1}, exports: [t.v1.T]}\n  u: {program: /u, exports: [t.v1.T]}\n  p: {program: /p, label: {level: 1}}\n"
		fsys := files(yaml, proto(1), everything)
		f, control := loaded(t, compiled(t, fsys)), loaded(t, without(t, fsys))
		for pair, want := range map[[2]string][2]bool{{"u", "s"}: {true, false}, {"s", "u"}: {false, false}, {"p", "s"}: {true, true}, {"p", "u"}: {false, false}} {
			if call, reply := f.call(pair[0], pair[1], 0); [2]bool{call, reply} != want {
				t.Errorf("%s: call %v, reply %v, want %v", fmt.Sprint(pair), call, reply, want)
			}
			if call, reply := control.call(pair[0], pair[1], 0); !call || !reply {
				t.Errorf("control %v: call %v, reply %v", pair, call, reply)
			}
		}
		// A server above tells nothing by its errors, but that there was one.
		if code, text := f.fail("u", "s", 0); !code || text {
			t.Errorf("an error down: code %v, text %v", code, text)
		}
		if code, text := f.fail("p", "s", 0); !code || !text {
			t.Errorf("an error between equals: code %v, text %v", code, text)
		}
		if code, text := control.fail("u", "s", 0); !code || !text {
			t.Errorf("control: code %v, text %v", code, text)
		}
	})
	t.Run("declared flows", func(t *testing.T) {
		const yaml = "ward: 1\nname: t\ninterfaces: [t.proto]\npolicy: [p.cedar]\nmetadata: {k: 64}\nuse: [ward/mls]\ndomains:\n" +
			"  s: {program: /s, label: {level: 1}, exports: [{interface: t.v1.T, methods: {Write: {flow: call}, Read: {flow: reply}}}]}\n  u: {program: /u, exports: [{interface: t.v1.T, methods: {Write: {flow: call}, Read: {flow: reply}}}]}\n"
		const flows = `syntax = "proto3"; package t.v1; message Empty {} message M { int32 n = 1; } service T { rpc Write(M) returns (Empty); rpc Read(Empty) returns (M); }`
		fsys := files(yaml, flows, everything)
		f := loaded(t, compiled(t, fsys))
		key := [2]string{}
		passes := func(from, to string, method int, body string, metadata bool) bool {
			key = [2]string{from, to}
			h := abi.Header{Kind: abi.KindCall, Method: uint32(method), Slot: f.slots[key], Gen: 1}
			f.slots[key]++
			if metadata {
				h.Flags, body = abi.FlagMetadata, "\x03\x00\x0a\x01x"+body
			}
			return f.packet(f.gates[key].Client, f.gates[key].Server, h, []byte(body))
		}
		// Up: a message, with metadata; back: the code of an error.
		for _, metadata := range []bool{false, true} {
			if !passes("u", "s", 0, "\x08\x05", metadata) {
				t.Errorf("a write up, metadata %v, is denied", metadata)
			}
		}
		if code, text := f.fail("u", "s", 0); !code || text {
			t.Errorf("the error of a write up: code %v, text %v", code, text)
		}
		// Down: a bare request, and all of the answer.
		if !passes("s", "u", 1, "", false) || passes("s", "u", 1, "", true) {
			t.Error("the request of a read down carries metadata, or is denied")
		}
		if code, text := f.fail("s", "u", 1); !code || !text {
			t.Errorf("the error of a read down: code %v, text %v", code, text)
		}
	})
}
