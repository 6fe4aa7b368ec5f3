package filter

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"ward/abi"
	"ward/image"
)

// handleImage is a system of two domains and one method, whose request has
// numbers and a handle below a nested message, and whose reply has a number.
func handleImage() *image.Image {
	number := func(n uint32, name string) image.Field {
		return image.Field{Number: n, Name: name, Type: image.Uint32}
	}
	return &image.Image{
		Domains:    []image.Domain{{Name: "camera"}, {Name: "viewer"}},
		Interfaces: []image.Interface{{Name: "test.v1.Frames", Methods: []image.Method{{Name: "Show", Request: 0, Reply: 3}}}},
		Messages: []image.Message{
			{Name: "test.v1.Show", Fields: []image.Field{number(1, "first"), {Number: 3, Name: "picture", Type: image.Nested, Card: image.Optional, Message: 1, MaxLen: 99}, number(9, "last")}},
			{Name: "test.v1.Picture", Fields: []image.Field{number(2, "before"), {Number: 3, Name: "frame", Type: image.Nested, Card: image.Optional, Message: 2, MaxLen: 50},
				{Number: 4, Name: "items", Type: image.Uint32, Card: image.Repeated, MaxItems: 20}, number(5, "after")}},
			{Name: image.HandleName, Fields: []image.Field{
				{Number: image.HandleID, Name: "id", Type: image.Uint64, Required: true}, {Number: image.HandleKind, Name: "kind", Type: image.Enum, Values: []int64{0, 1}},
				{Number: image.HandleSize, Name: "size", Type: image.Uint64}, {Number: image.HandleWrite, Name: "write", Type: image.Bool, HasRange: true, Max: 1}}},
			{Name: "test.v1.Shown", Fields: []image.Field{number(1, "n")}},
		},
		Policies: []image.Policy{{ID: "p"}},
		Routes: []image.Route{{Client: 0, Server: 1, Methods: []image.MethodPolicy{{
			Request: image.Decision{Permit: []image.Rule{{When: image.Expr{Op: image.True}}}},
			Reply:   image.Decision{Permit: []image.Rule{{When: image.Expr{Op: image.True}}}},
		}}}},
	}
}

func less(path ...uint32) image.Expr {
	return image.Expr{Op: image.Less, Left: image.Operand{What: image.Scalar, Path: path}, Right: image.Operand{Value: image.Value{Long: 9}}}
}

func built(t *testing.T, img *image.Image) *Spec {
	t.Helper()
	s, err := Build(img, 0, Atoms{User: -1})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// flagsOf are those of the first method of a program.
func flagsOf(p *Program) uint32 { return binary.LittleEndian.Uint32(p.Methods[4:]) }

// What a filter compares of a handle is in four slots side by side, whatever else
// the policy looks at.
func TestHandleSlots(t *testing.T) {
	for name, c := range map[string]struct {
		when  []image.Expr
		first int // slot of the id
	}{
		"nothing":        {nil, 0},
		"before":         {[]image.Expr{less(1), less(3, 2)}, 2},
		"after":          {[]image.Expr{less(9), less(3, 5)}, 0},
		"the handle":     {[]image.Expr{less(3, 3, image.HandleSize), {Op: image.Has, Path: []uint32{3, 3}}}, 1},
		"beside, counts": {[]image.Expr{less(3, 3, image.HandleSize), {Op: image.Has, Path: []uint32{3}}, {Op: image.Less, Left: image.Operand{What: image.Count, Path: []uint32{3, 4}}}, less(9)}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			img := handleImage()
			if c.when != nil {
				img.Routes[0].Methods[0].Request.Permit[0].When = image.Expr{Op: image.And, Args: c.when}
			}
			p := &built(t, img).Programs[abi.Request]
			if got := int(flagsOf(p) >> methodHandle & handleSlots); got != 1+c.first {
				t.Fatalf("the id is in slot %d, want %d", got-1, c.first)
			}
			for i, want := range []string{"id", "kind", "size", "write"} {
				if q := p.Params[0][c.first+i]; q.Name != "picture.frame."+want || q.Count {
					t.Errorf("slot %d is %+v, want %s", c.first+i, q, want)
				}
			}
			if !p.Objects() || !p.Handles() || p.Template() != "gate_objects" || !p.Effective() {
				t.Errorf("uses %#x, template %s", p.Uses, p.Template())
			}
		})
	}
}

// Programs that need nothing of objects have nothing of them: those whose
// messages have no handle, and those that admit none.
func TestProgramsWithoutObjects(t *testing.T) {
	img := handleImage()
	s := built(t, img)
	if p := &s.Programs[abi.Reply]; p.Objects() || p.Template() != "gate" || flagsOf(p)>>methodHandle&handleSlots != 0 {
		t.Errorf("replies without handles: uses %#x, template %s", p.Uses, p.Template())
	}
	img.Routes[0].Methods[0].Request = image.Decision{Forbid: img.Routes[0].Methods[0].Request.Permit}
	if p := &built(t, img).Programs[abi.Request]; p.Objects() || len(p.Params[0]) != 0 {
		t.Errorf("a handle that no policy admits: uses %#x, parameters %v", p.Uses, p.Params)
	}

	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(Object))
	if err != nil {
		t.Fatal(err)
	}
	for name, with := range map[string]bool{"gate": false, "gate_effects": false, "gate_objects": true} {
		has := false
		for i := range spec.Programs[name].Instructions {
			in := &spec.Programs[name].Instructions[i]
			f := btf.FuncMetadata(in)
			has = has || in.IsLoadFromMap() && in.Reference() == "handles" || f != nil && strings.HasSuffix(f.Name, "_objects") && f.Name != name
		}
		if has != with {
			t.Errorf("template %s has code for handles: %v", name, has)
		}
	}
}

// permits reports whether an instruction gives a verdict that permits.
func permits(in asm.Instruction) bool {
	return in.OpCode == asm.LoadImmOp(asm.DWord) && abi.Reason(in.Constant) == abi.ReasonPermit || in.OpCode == asm.Mov.Imm(asm.R0, 0).OpCode && abi.Reason(in.Constant) == abi.ReasonPermit
}

// What a handle takes counts among the parameters.
func TestHandleAndTooManyParameters(t *testing.T) {
	for n, want := range map[int]string{12: "", 13: "its policies and its handle take 17 parameters, the limit is 16"} {
		img := handleImage()
		var all []image.Expr
		for i := range n {
			img.Messages[0].Fields = append(img.Messages[0].Fields, image.Field{Number: uint32(10 + i), Name: "n", Type: image.Uint32})
			all = append(all, less(uint32(10+i)))
		}
		img.Routes[0].Methods[0].Request.Permit[0].When = image.Expr{Op: image.And, Args: all}
		_, err := Build(img, 0, Atoms{User: -1})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d parameters beside the handle: %v", n, err)
		}
	}
}

// Calls to a mailbox are posts; it has nothing to say.
func TestMailboxPrograms(t *testing.T) {
	img := handleImage()
	img.Domains[1].Mailbox = true
	s := built(t, img)
	if p := &s.Programs[abi.Request]; flagsOf(p)&methodPost == 0 || p.Uses&usesPost == 0 || p.Template() != "gate_objects" {
		t.Errorf("a mailbox's writer: flags %#x, uses %#x", flagsOf(p), p.Uses)
	}
	if p := &s.Programs[abi.Reply]; flagsOf(p)&(methodPost|methodPermit) != 0 || slices.ContainsFunc(p.Decide, permits) {
		t.Errorf("a mailbox's reader: flags %#x\n%v", flagsOf(p), p.Decide)
	}
	img.Domains[1].Mailbox = false
	if p := &built(t, img).Programs[abi.Reply]; !slices.ContainsFunc(p.Decide, permits) {
		t.Errorf("no mailbox: no reply is permitted\n%v", p.Decide)
	}
	if p := &built(t, img).Programs[abi.Request]; flagsOf(p)&methodPost != 0 || p.Uses&usesPost != 0 {
		t.Errorf("no mailbox: flags %#x", flagsOf(p))
	}
}
