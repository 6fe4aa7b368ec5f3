package kernel

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
	"ward/filter"
	"ward/image"
)

// tenantImage is streamImage with keys x-tenant (1), other (2), note (3) and
// proof-bin (4): Unary is for the tenant "lab" with a note, if it has one, of which
// "draft" is a part, and not for the other "root"; Wide is for everybody.
func tenantImage() *image.Image {
	img := streamImage()
	img.Metadata = []image.Metadata{{Key: "x-tenant", Max: 55}, {Key: "other", Max: 4}, {Key: "note", Max: 300}, {Key: "proof-bin", Max: 8}}
	text := func(op image.Op, key int, set ...string) image.Expr {
		e := image.Expr{Op: op, Left: image.Operand{What: image.Scalar, Path: image.MetadataPath(key)}}
		if op == image.Eq {
			e.Right = image.Operand{Value: image.Value{IsString: true, String: set[0]}}
			return e
		}
		for _, s := range set {
			e.Set = append(e.Set, image.Value{IsString: true, String: s})
		}
		return e
	}
	has := func(key int) image.Expr { return image.Expr{Op: image.Has, Path: image.MetadataPath(key)} }
	and := func(args ...image.Expr) image.Expr { return image.Expr{Op: image.And, Args: args} }
	size := image.Expr{Op: image.LessEq, Left: image.Operand{Value: image.Value{Long: 2}}, Right: image.Operand{What: image.Size, Path: image.MetadataPath(3)}}
	note := image.Expr{Op: image.If, Args: []image.Expr{has(2), text(image.Like, 2, "", "draft", ""), {Op: image.True}}}
	proof := image.Expr{Op: image.If, Args: []image.Expr{has(3), size, {Op: image.True}}}
	unary := image.MethodPolicy{Request: image.Decision{
		Permit: []image.Rule{{Policy: 0, When: and(has(0), text(image.Eq, 0, "lab"), note, proof)}},
		Forbid: []image.Rule{{Policy: 2, When: and(has(1), text(image.Eq, 1, "root"))}},
	}, Reply: img.Routes[0].Methods[0].Reply}
	img.Policies = append(img.Policies, image.Policy{ID: "not root", Forbid: true})
	all := image.MethodPolicy{Request: image.Decision{Permit: []image.Rule{{Policy: 0, When: image.Expr{Op: image.True}}}}, Reply: unary.Reply}
	img.Routes[0].Methods = []image.MethodPolicy{unary, all, all, all, all}
	return img
}

// beside is a payload with a metadata section.
func beside(section, body []byte) []byte {
	return cat(binary.LittleEndian.AppendUint16(nil, uint16(len(section))), section, body)
}

// TestMetadataDecides: a policy decides on metadata as on parameters, its record
// carries it, and what one message had is not there for the next.
func TestMetadataDecides(t *testing.T) {
	img := tenantImage()
	g := newGateTest(t, img, FabricConfig{Gates: 2, Programs: 4, AuditAll: true})
	long := strings.Repeat("x", 140)
	for _, c := range []struct {
		name    string
		section []byte // nil: none
		reason  abi.Reason
	}{
		{"its tenant", lend(1, "lab"), abi.ReasonPermit},
		{"none", nil, abi.ReasonDefault},
		{"an empty section", []byte{}, abi.ReasonDefault},
		{"another", lend(1, "labs"), abi.ReasonDefault},
		{"a part of it", lend(1, "la"), abi.ReasonDefault},
		{"empty", lend(1, ""), abi.ReasonDefault},
		{"under another key", lend(3, "lab"), abi.ReasonDefault},
		{"forbidden by another key", cat(lend(1, "lab"), lend(2, "root")), abi.ReasonForbid},
		{"forbidden by another key before it", cat(lend(2, "root"), lend(1, "lab")), abi.ReasonForbid},
		{"not forbidden by another", cat(lend(2, "roo"), lend(1, "lab")), abi.ReasonPermit},
		{"a pattern that spans stretches of it", cat(lend(3, long+"draft"+long), lend(1, "lab")), abi.ReasonPermit},
		{"no pattern", cat(lend(3, long+"dra-ft"+long), lend(1, "lab")), abi.ReasonDefault},
		{"enough bytes", cat(lend(4, "\xff\x00"), lend(1, "lab")), abi.ReasonPermit},
		{"too few bytes", cat(lend(1, "lab"), lend(4, "\xff")), abi.ReasonDefault},
	} {
		h := abi.Header{Kind: abi.KindCall, Slot: 1, Gen: 1}
		payload := vint(1, 7)
		if c.section != nil {
			h.Flags, payload = abi.FlagMetadata, beside(c.section, payload)
		}
		packet := message(h, payload)
		got := g.send(abi.Request, packet)
		v := g.verdict(abi.Request, 1)
		if v.Reason() != c.reason || (got != nil) != c.reason.Allowed() {
			t.Errorf("%s: reason %v, delivered %v, want %v", c.name, v.Reason(), got != nil, c.reason)
		}
		r := g.record(abi.Request)
		params := g.route.spec.Programs[abi.Request].Params[mUnary]
		i := slices.IndexFunc(params, func(p filter.Param) bool { return p.Name == "ward.metadata.x-tenant" })
		if i < 0 {
			t.Fatalf("the record does not carry it: %+v", params)
		}
		if text, size := filter.Text(params, &r, i); c.name == "its tenant" && (string(text) != "lab" || size != 3 || r.Present>>i&1 == 0) {
			t.Errorf("%s: the record has %q", c.name, text)
		}
		if got != nil { // the call ends, and its slot is free again
			g.mustSend(abi.Reply, message(abi.Header{Kind: abi.KindReply, Slot: 1, Gen: 1}, vint(1, 1)))
			g.record(abi.Reply)
		}
	}
}

// TestMetadataForged: metadata that two readers would read differently does not
// pass, whether the method's policy looks at it or not: one gate has one reading.
// The control: without a filter it arrives, and the first value, which a reader
// may take, is not the last, which Ward's library takes; and the same section
// with one reading passes both methods.
func TestMetadataForged(t *testing.T) {
	g := newGateTest(t, tenantImage(), FabricConfig{Gates: 2, Programs: 4})
	good := lend(1, "lab")
	overlong := []byte{0x8a, 0x00, 3, 'l', 'a', 'b'} // the tag of key 1 in two bytes
	slot := uint16(0)
	for _, method := range []uint32{mUnary, mWide} {
		h := abi.Header{Kind: abi.KindCall, Method: method, Gen: 1, Flags: abi.FlagMetadata}
		for _, c := range []struct {
			name    string
			section []byte
		}{
			{"twice", cat(good, lend(1, "root"))},
			{"twice the same", cat(good, good)},
			{"twice, another between", cat(good, lend(2, "x"), lend(1, "root"))},
			{"not UTF-8", lend(1, "lab\xff")},
			{"a cut code point", lend(1, "lab\xc3")},
			{"a surrogate", lend(1, "\xed\xa0\x80")},
			{"an overlong slash", lend(1, "\xc0\xaf")},
			{"a tag that is longer than it need be", overlong},
			{"a length that is longer than it need be", cat([]byte{0x0a, 0x83, 0x00}, []byte("lab"))},
			{"a number", cat(vint(1, 5))},
			{"a group", []byte{0x0b, 0x0c}},
			{"cut off", []byte{0x0a, 4, 'l', 'a', 'b'}},
			{"too long by one", lend(1, strings.Repeat("l", 56))},
			{"a key that is not declared", cat(good, lend(5, "root"))},
			{"key 0", cat(good, lend(0, "root"))},
			{"key 2^29-1", cat(good, lend(1<<29-1, "root"))},
			{"more than a key's bits: 2^32+1", cat(good, []byte{0x8a, 0x80, 0x80, 0x80, 0x80, 0x01, 4}, []byte("root"))},
		} {
			h.Slot = slot
			g.mustDeny(abi.Request, message(h, beside(c.section, nil)), abi.ReasonMetadata)
		}
		// A section in the body's place, and one that reaches into the body.
		plain := abi.Header{Kind: abi.KindCall, Method: method, Slot: slot, Gen: 1}
		g.mustDeny(abi.Request, message(plain, cat(protowire.AppendVarint(nil, 0<<3|2), []byte{5}, good)), abi.ReasonUnknownField)
		h.Slot = slot
		g.mustDeny(abi.Request, message(h, cat([]byte{byte(len(good) + 2), 0}, good, vint(9, 1))), abi.ReasonMetadata)
		g.mustSend(abi.Request, message(h, beside(good, nil)))
		slot++
	}
	// Nor in what is not decided on.
	up := abi.Header{Kind: abi.KindCall, Method: mUp, Slot: slot, Gen: 1, Flags: abi.FlagMetadata}
	g.mustDeny(abi.Request, message(up, beside(lend(1, "lab\xff"), nil)), abi.ReasonMetadata)
	g.mustSend(abi.Request, message(up, beside(good, nil)))
	// A key that no condition looks at is bytes, and nobody's text: it passes.
	other := tenantImage()
	other.Routes[0].Methods[mUnary].Request.Forbid = nil
	o := newGateTest(t, other, FabricConfig{Gates: 2, Programs: 4})
	call := abi.Header{Kind: abi.KindCall, Method: mUnary, Slot: 1, Gen: 1, Flags: abi.FlagMetadata}
	o.mustSend(abi.Request, message(call, beside(cat(good, lend(2, "\xff")), nil)))
	call.Slot = 9
	g.mustDeny(abi.Request, message(call, beside(cat(good, lend(2, "\xff")), nil)), abi.ReasonMetadata)
	if first, last := readers(cat(good, lend(1, "root"))); first != "lab" || last != "root" {
		t.Errorf("the control: two readers read %q and %q", first, last)
	}
}

// readers read a section as two programs may: the first value of key 1, and the last.
func readers(section []byte) (first, last string) {
	for len(section) > 0 {
		num, _, n := protowire.ConsumeTag(section)
		v, k := protowire.ConsumeBytes(section[n:])
		if section = section[n+k:]; num != 1 {
			continue
		}
		if last = string(v); first == "" {
			first = last
		}
	}
	return first, last
}
