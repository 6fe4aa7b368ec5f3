package kernel

import (
	"bytes"
	"strings"
	"testing"

	"ward/abi"
	"ward/image"
)

// What a reply may not say, an error and the end of a stream cannot either: of
// an error the code passes, one of gRPC's, and of neither metadata. The control
// is the same server whose replies all pass.
func TestTerseErrors(t *testing.T) {
	always := image.Decision{Permit: []image.Rule{{When: image.Expr{Op: image.True}}}}
	small := image.Decision{Permit: []image.Rule{{When: image.Expr{Op: image.LessEq,
		Left: image.Operand{What: image.Scalar, Path: []uint32{1}}, Right: image.Operand{Value: image.Value{Long: 5}}}}}}
	never := image.Decision{Permit: always.Permit, Forbid: always.Permit}
	with := func(d image.Decision) *image.Image {
		img := streamImage()
		for i := range img.Routes[0].Methods {
			img.Routes[0].Methods[i].Reply = d
		}
		return img
	}
	call := func(m uint32, slot, gen uint16) []byte {
		return message(abi.Header{Kind: abi.KindCall, Method: m, Slot: slot, Gen: gen}, nil)
	}
	from := func(kind abi.Kind, m uint32, slot, gen uint16, body ...byte) []byte {
		return message(abi.Header{Kind: kind, Method: m, Slot: slot, Gen: gen}, body)
	}
	metadata := string(lend(1, "secret"))
	flagged := func(kind abi.Kind, method uint32, gen uint16, body []byte) []byte {
		section := append([]byte{byte(len(metadata)), 0}, metadata...)
		return message(abi.Header{Kind: kind, Flags: abi.FlagMetadata, Method: method, Slot: 1, Gen: gen}, append(section, body...))
	}
	for _, c := range []struct {
		name  string
		reply image.Decision
		terse bool
	}{
		{"every reply passes", always, false},
		{"some do", small, true},
		{"none does", never, true},
		{"no policy lets one", image.Decision{}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGateTest(t, with(c.reply), FabricConfig{Gates: 4, Programs: 4})
			if got := g.route.Terse(mUnary); got != c.terse {
				t.Fatalf("terse: %v", got)
			}
			gen := uint16(0)
			// passes tells whether a message of the server is delivered whole; denied, it is an answer.
			passes := func(b []byte) bool {
				t.Helper()
				got := g.send(abi.Reply, b)
				if bytes.Equal(got, b) {
					return true
				}
				if !bytes.Equal(got, b[:min(len(got), len(b))]) || len(got) != abi.HeaderSize {
					t.Fatalf("received %x of %x", got, b)
				}
				return false
			}
			for _, e := range []struct {
				what string
				body []byte
				ok   bool // of a terse method
			}{
				{"code", vint(1, 5), true},
				{"greatest code", vint(1, 16), true},
				{"no code", nil, true},
				{"code beyond", vint(1, 17), false},
				{"negative code", vint(1, 1<<64-1), false},
				{"message", cat(vint(1, 5), lend(2, "x")), false},
				{"empty message", cat(vint(1, 5), lend(2, "")), false},
				{"detail", cat(vint(1, 5), lend(3, string(lend(1, "t")))), false},
				{"long message", cat(vint(1, 5), lend(2, strings.Repeat("x", 1024))), false},
			} {
				gen++
				g.mustSend(abi.Request, call(mUnary, 1, gen))
				if got := passes(from(abi.KindError, mUnary, 1, gen, e.body...)); got != (e.ok || !c.terse) {
					t.Errorf("%s: delivered %v", e.what, got)
				}
			}
			gen++
			g.mustSend(abi.Request, call(mUnary, 1, gen))
			if got := passes(flagged(abi.KindError, mUnary, gen, vint(1, 5))); got != !c.terse {
				t.Errorf("error with metadata: delivered %v", got)
			}
			gen++
			g.mustSend(abi.Request, call(mDown, 1, gen))
			if got := passes(flagged(abi.KindStreamEnd, mDown, gen, nil)); got != !c.terse {
				t.Errorf("end with metadata: delivered %v", got)
			}
			gen++ // each freed its slot
			g.mustSend(abi.Request, call(mDown, 1, gen))
			g.mustSend(abi.Reply, from(abi.KindStreamEnd, mDown, 1, gen))
		})
	}
}
