package kernel

import (
	"testing"

	"ward/abi"
	"ward/image"
)

// TestAttackMetadataOfChain: a child sends what its own policy lets pass, and one
// of those over it does not, in metadata: as one condition beside another, on a
// key that only the parent looks at, and as bytes that are no text there. The
// control: each passes where the level that refuses it is not in the chain.
func TestAttackMetadataOfChain(t *testing.T) {
	img := streamImage()
	img.Metadata = []image.Metadata{{Key: "x-tenant", Max: 8}, {Key: "other", Max: 8}, {Key: "note", Max: 8}, {Key: "free", Max: 8}}
	is := func(key int, text string) image.Expr {
		return image.Expr{Op: image.And, Args: []image.Expr{{Op: image.Has, Path: image.MetadataPath(key)},
			{Op: image.Eq, Left: image.Operand{What: image.Scalar, Path: image.MetadataPath(key)}, Right: image.Operand{Value: image.Value{IsString: true, String: text}}}}}
	}
	yes := image.Expr{Op: image.True}
	child := image.Decision{Permit: []image.Rule{permit(0, is(0, "lab"))}}
	parent := image.Decision{Forbid: []image.Rule{permit(1, is(1, "root"))}, Permit: []image.Rule{permit(0, yes)}}
	root := image.Decision{Permit: []image.Rule{permit(0, is(2, "ok"))}}
	g := newGateTest(t, img, FabricConfig{Gates: 2, Programs: 4, Buckets: 16})
	slot := uint16(0)
	want := func(what string, reason abi.Reason, section []byte) {
		t.Helper()
		h := abi.Header{Kind: abi.KindCall, Method: mUnary, Slot: slot, Gen: 1, Flags: abi.FlagMetadata}
		got := g.send(abi.Request, message(h, beside(section, vint(1, 7))))
		if v := g.verdict(abi.Request, slot); v.Reason() != reason || (got != nil) != reason.Allowed() {
			t.Errorf("%s: %v, delivered %v; want %v", what, v.Reason(), got != nil, reason)
		}
		slot++
	}
	all := cat(lend(1, "lab"), lend(3, "ok"))

	g.replaceBy(img, chainOf(img, child)) // the control
	want("the child alone", abi.ReasonPermit, lend(1, "lab"))
	want("the child alone, what its parent forbids", abi.ReasonPermit, cat(lend(1, "lab"), lend(2, "root")))
	want("the child alone, no text", abi.ReasonPermit, cat(lend(1, "lab"), lend(2, "\xff")))
	want("the child alone, another tenant", abi.ReasonDefault, lend(1, "shop"))

	g.replaceBy(img, chainOf(img, child, parent))
	want("with its parent", abi.ReasonPermit, lend(1, "lab"))
	want("what the parent forbids", abi.ReasonForbid, cat(lend(1, "lab"), lend(2, "root")))
	want("the same the other way round", abi.ReasonForbid, cat(lend(2, "root"), lend(1, "lab")))
	want("no text, in what only the parent looks at", abi.ReasonMetadata, cat(lend(1, "lab"), lend(2, "\xff")))
	want("bytes in what nobody looks at", abi.ReasonPermit, cat(lend(1, "lab"), lend(4, "\xff")))
	want("another tenant", abi.ReasonDefault, lend(1, "shop"))

	g.replaceBy(img, chainOf(img, child, parent, root))
	want("all levels", abi.ReasonPermit, all)
	want("without what the root asks for", abi.ReasonDefault, lend(1, "lab"))
	want("without what the child asks for", abi.ReasonDefault, lend(3, "ok"))
	want("all, and what the parent forbids", abi.ReasonForbid, cat(all, lend(2, "root")))
	want("no text, in what only the root looks at", abi.ReasonMetadata, cat(lend(1, "lab"), lend(3, "ok\xc3")))

	// What looked at it goes, and with it the key's being text; on the same gate.
	g.replaceBy(img, chainOf(img, child))
	want("the child alone again", abi.ReasonPermit, cat(lend(1, "lab"), lend(2, "\xff")))
}

// TestAttackMetadataBesideReplies: what a reply may not have in its metadata is
// sent with what nobody decides on: an error, the end of a stream. And a client
// sends metadata with what carries none. The control: with replies that are not
// restricted, and with messages that carry it, it passes.
func TestAttackMetadataBesideReplies(t *testing.T) {
	start := func(reply image.Decision) *gateTest {
		img := streamImage()
		img.Metadata = []image.Metadata{{Key: "x-tenant", Max: 8}}
		for m := range img.Routes[0].Methods {
			img.Routes[0].Methods[m].Request = image.Decision{Permit: []image.Rule{permit(0, image.Expr{Op: image.True})}}
			img.Routes[0].Methods[m].Reply = reply
		}
		img.Policies = append(img.Policies, image.Policy{ID: "no tenant", Forbid: true})
		return newGateTest(t, img, FabricConfig{Gates: 2, Programs: 4})
	}
	free := image.Decision{Permit: []image.Rule{permit(0, image.Expr{Op: image.True})}}
	no := uint32(len(streamImage().Policies))
	forbidden := image.Decision{Permit: free.Permit, Forbid: []image.Rule{permit(no, image.Expr{Op: image.Has, Path: image.MetadataPath(0)})}}
	section := beside(lend(1, "secret"), nil)
	for name, c := range map[string]struct {
		reply image.Decision
		want  abi.Reason // of an error and an end with metadata
		item  abi.Reason // of an item
	}{
		"control":   {free, abi.ReasonAdmit, abi.ReasonPermit},
		"forbidden": {forbidden, abi.ReasonMetadata, abi.ReasonForbid},
	} {
		g := start(c.reply)
		send := func(what string, dir abi.Direction, h abi.Header, want abi.Reason) {
			t.Helper()
			g.send(dir, message(h, section))
			if v := g.verdict(dir, h.Slot); v.Reason() != want {
				t.Errorf("%s: %s: %v, want %v", name, what, v.Reason(), want)
			}
		}
		for slot, kind := range []abi.Kind{abi.KindStreamItem, abi.KindStreamEnd, abi.KindError} {
			h := abi.Header{Kind: abi.KindCall, Method: mDown, Slot: uint16(slot), Gen: 1}
			g.mustSend(abi.Request, message(h, nil))
			h.Kind, h.Flags = kind, abi.FlagMetadata
			want := c.want
			if kind == abi.KindStreamItem {
				want = c.item
			}
			send("answered by kind", abi.Reply, h, want)
		}
		h := abi.Header{Kind: abi.KindCall, Method: mUnary, Slot: 9, Gen: 1, Flags: abi.FlagMetadata}
		send("a call", abi.Request, h, abi.ReasonPermit)
		h.Kind = abi.KindCancel
		g.mustDeny(abi.Request, message(h, section), abi.ReasonFlags)
		h.Kind = abi.KindError
		send("an error", abi.Reply, h, c.want)
	}
}
