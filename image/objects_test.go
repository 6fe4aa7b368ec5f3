package image

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ward/abi"
)

// shared is a system with memory and a mailbox: a camera that makes frames, a
// viewer that gets them and posts orders, and a shop that reads those.
func shared() *Image {
	none, yes := Verdict{Policy: abi.NoPolicy}, Verdict{Allow: true, Policy: 0}
	nobody := func() []Verdict { return []Verdict{none, none, none, none} }
	only := func(d int) []Verdict { v := nobody(); v[d] = yes; return v }
	domain := func(name string) Domain {
		return Domain{Name: name, Program: "/bin/" + name, Ring: Ring{3, "user"}, Start: yes}
	}
	box := Domain{Name: "orders", Mailbox: true, Ring: Ring{3, "user"}, Start: none, Exports: []Export{{1, "", none}}}
	camera := domain("camera")
	camera.Exports = []Export{{0, "", yes}}
	rule := []Rule{{Policy: 0, When: Expr{Op: LessEq, Left: Operand{What: Scalar, Path: []uint32{2, HandleSize}}, Right: Operand{Value: Value{Long: 4096}}}}}
	always := []Rule{{Policy: 0, When: Expr{Op: True}}}
	return &Image{
		Name:     "shop",
		Domains:  []Domain{camera, domain("viewer"), domain("shop"), box},
		Policies: []Policy{{ID: "all", Source: "p:1"}, {ID: "no", Source: "p:2", Forbid: true}},
		Messages: []Message{
			{Name: "s.v1.Empty"},
			{Name: "s.v1.Frame", Fields: []Field{{Number: 1, Name: "width", Type: Int32}, {Number: 2, Name: "pixels", Type: Nested, Card: Optional, Message: 2, MaxLen: 64}}},
			{Name: HandleName, Fields: []Field{
				{Number: HandleID, Name: "id", Type: Uint64, Required: true, HasRange: true, Min: 1, Max: 1<<40 - 1},
				{Number: HandleKind, Name: "kind", Type: Enum, Required: true, Values: []int64{1}},
				{Number: HandleSize, Name: "size", Type: Uint64, HasRange: true, Max: MaxObjectSize},
				{Number: HandleWrite, Name: "write", Type: Bool, HasRange: true, Max: 1}}},
			{Name: "s.v1.Order", Fields: []Field{{Number: 1, Name: "n", Type: Int32}}},
		},
		Interfaces: []Interface{{"s.v1.Camera", []Method{{Name: "Put", Request: 1, Reply: 1}}}, {"s.v1.Orders", []Method{{Name: "Place", Request: 3, Reply: 0}}}},
		Routes: []Route{
			{Client: 1, Server: 0, Interface: 0, Connect: yes, Lookup: yes, Methods: []MethodPolicy{{Request: Decision{Permit: rule}, Reply: Decision{Permit: always}}}},
			{Client: 1, Server: 3, Interface: 1, Connect: yes, Lookup: none, Methods: []MethodPolicy{{Request: Decision{Permit: always}}}},
		},
		Objects: []Object{
			{Name: "frames", Kind: ObjectMemory, Size: 4 << 20, Count: 16, Domain: abi.NoDomain, Create: only(0), Read: only(1), Write: nobody()},
			{Name: "board", Kind: ObjectMemory, Size: 4096, Count: 1, Shared: true, Domain: abi.NoDomain, Create: nobody(), Read: only(1), Write: only(1)},
			{Name: "orders", Kind: ObjectMailbox, Domain: 3, Create: nobody(), Read: only(2), Write: nobody()},
		},
	}
}

func TestObjectsRoundTrip(t *testing.T) {
	img := shared()
	if err := img.Check(); err != nil {
		t.Fatal(err)
	}
	got, err := Decode(Encode(img))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(shared(), got); d != "" {
		t.Error(d)
	}
	if i, ok := img.ObjectNamed("board"); !ok || i != 1 {
		t.Errorf("board is object %d, %v", i, ok)
	}
	if _, ok := img.ObjectNamed("camera"); ok {
		t.Error("a domain is found as an object")
	}
	for message, want := range [][]uint32{nil, {2}, nil, nil} {
		if path, ok := img.HandleOf(uint32(message)); ok != (want != nil) || !slices.Equal(path, want) {
			t.Errorf("message %d: handle at %v, %v; want %v", message, path, ok, want)
		}
	}
}

// A message of many equal parts is looked through once, not once for each way to it.
func TestHandleOfWideMessage(t *testing.T) {
	img := &Image{Name: "x", Messages: []Message{{Name: "M0"}}}
	for i := range uint32(MaxNesting - 1) {
		m := Message{Name: "M"}
		for f := range uint32(MaxFields) {
			m.Fields = append(m.Fields, Field{Number: f + 1, Name: "f", Type: Nested, Card: Optional, Message: i})
		}
		img.Messages = append(img.Messages, m)
	}
	if _, ok := img.HandleOf(uint32(len(img.Messages) - 1)); ok {
		t.Error("a handle where there is none")
	}
}

func TestCheckObjects(t *testing.T) {
	yes := Verdict{Allow: true, Policy: 0}
	for name, spoil := range map[string]func(*Image){
		"name with a slash":             func(i *Image) { i.Objects[0].Name = "a/b" },
		"object twice":                  func(i *Image) { i.Objects[1].Name = "frames" },
		"name of a domain":              func(i *Image) { i.Objects[0].Name = "viewer" },
		"unknown kind":                  func(i *Image) { i.Objects[0].Kind = 3 },
		"verdicts missing":              func(i *Image) { i.Objects[0].Read = i.Objects[0].Read[:3] },
		"one verdict too many":          func(i *Image) { i.Objects[0].Create = append(i.Objects[0].Create, yes) },
		"grant without a policy":        func(i *Image) { i.Objects[0].Read[0] = Verdict{true, abi.NoPolicy} },
		"grant by a forbid":             func(i *Image) { i.Objects[0].Write[0] = Verdict{true, 1} },
		"a right of a mailbox":          func(i *Image) { i.Objects[0].Read[3] = yes },
		"no size":                       func(i *Image) { i.Objects[0].Size = 0 },
		"too large":                     func(i *Image) { i.Objects[0].Size = MaxObjectSize + 1 },
		"no instance":                   func(i *Image) { i.Objects[0].Count = 0 },
		"too many instances":            func(i *Image) { i.Objects[0].Count = MaxObjectCount + 1 },
		"two of what is shared":         func(i *Image) { i.Objects[1].Count = 2 },
		"making what is shared":         func(i *Image) { i.Objects[1].Create[0] = yes },
		"memory among the domains":      func(i *Image) { i.Objects[0].Domain = 3 },
		"mailbox of no domain":          func(i *Image) { i.Objects[2].Domain = abi.NoDomain },
		"mailbox of a real domain":      func(i *Image) { i.Objects[2].Domain = 2 },
		"mailbox of another name":       func(i *Image) { i.Domains[3].Name = "other" },
		"mailbox with a size":           func(i *Image) { i.Objects[2].Size = 4096 },
		"making a mailbox":              func(i *Image) { i.Objects[2].Create[0] = yes },
		"opening a mailbox for writing": func(i *Image) { i.Objects[2].Write[0] = yes },
		"two readers":                   func(i *Image) { i.Objects[2].Read[0] = yes },
		"reader that is a template":     func(i *Image) { i.Domains[2].Template = true },
		"mailbox that nobody declares":  func(i *Image) { i.Objects = i.Objects[:2] },
		"mailbox that starts":           func(i *Image) { i.Domains[3].Start = yes },
		"mailbox with a program":        func(i *Image) { i.Domains[3].Program = "/bin/x" },
		"mailbox that is published":     func(i *Image) { i.Domains[3].Exports[0].Publish = yes },
		"mailbox with a socket":         func(i *Image) { i.Domains[3].Exports[0].Socket = "/run/x" },
		"mailbox of two interfaces": func(i *Image) {
			i.Domains[3].Exports = append(i.Domains[3].Exports, Export{0, "", Verdict{Policy: abi.NoPolicy}})
		},
		"mailbox that calls":             func(i *Image) { i.Routes[0].Client = 3 },
		"users write to a mailbox":       func(i *Image) { i.Routes[1].Client = abi.NoDomain },
		"reply of a mailbox":             func(i *Image) { i.Routes[1].Methods[0].Reply.Permit = i.Routes[1].Methods[0].Request.Permit },
		"stream to a mailbox":            func(i *Image) { i.Interfaces[1].Methods[0].ClientStream = true },
		"reply with fields":              func(i *Image) { i.Interfaces[1].Methods[0].Reply = 3 },
		"handle to a mailbox":            func(i *Image) { i.Interfaces[1].Methods[0].Request = 1 },
		"message that is a handle":       func(i *Image) { i.Interfaces[0].Methods[0].Reply = 2 },
		"handles that repeat":            func(i *Image) { i.Messages[1].Fields[1].Card = Repeated },
		"two handles":                    func(i *Image) { addField(i, Field{Number: 3, Name: "more", Type: Nested, Card: Optional, Message: 2}) },
		"handle of other fields":         func(i *Image) { i.Messages[2].Fields[0].Type = Uint32 },
		"handle whose number may be out": func(i *Image) { i.Messages[2].Fields[0].Required = false },
		"handle with more": func(i *Image) {
			i.Messages[2].Fields = append(i.Messages[2].Fields, Field{Number: 9, Name: "x", Type: Bool})
		},
	} {
		t.Run(name, func(t *testing.T) {
			img := shared()
			spoil(img)
			if err := img.Check(); err == nil {
				t.Fatal("Check accepted it")
			}
			if _, err := Decode(Encode(img)); err == nil {
				t.Error("Decode accepted it")
			}
		})
	}
}

func addField(i *Image, f Field) { i.Messages[1].Fields = append(i.Messages[1].Fields, f) }

// An image that is aligned has the objects of the running one in their places,
// and what is gone is nobody's.
func TestAlignObjects(t *testing.T) {
	running, fresh := shared(), shared()
	none := Verdict{Policy: abi.NoPolicy}
	// The new one has its domains in another order, memory more, and no board.
	fresh.Domains[0], fresh.Domains[2] = fresh.Domains[2], fresh.Domains[0]
	fresh.Routes[0].Server = 2
	swap := func(v []Verdict) { v[0], v[2] = v[2], v[0] }
	for i := range fresh.Objects {
		o := &fresh.Objects[i]
		for _, v := range [][]Verdict{o.Create, o.Read, o.Write} {
			swap(v)
		}
	}
	fresh.Objects[0].Size = 1 << 20
	sound := fresh.Objects[0]
	sound.Name = "sound"
	fresh.Objects = []Object{sound, fresh.Objects[2], fresh.Objects[0]}
	if err := fresh.Check(); err != nil {
		t.Fatal(err)
	}
	got, err := Align(running, fresh)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Aligned(running) {
		t.Error("the result does not have the numbers of the running image")
	}
	if fresh.Aligned(running) {
		t.Error("a control: the image as it was compiled passes for aligned")
	}
	var names []string
	for _, o := range got.Objects {
		names = append(names, o.Name)
	}
	if want := []string{"frames", "board", "orders", "sound"}; !slices.Equal(names, want) {
		t.Fatalf("objects %q, want %q", names, want)
	}
	if o := got.Objects[0]; !o.Create[0].Allow || !o.Read[1].Allow || o.Size != 1<<20 {
		t.Errorf("frames: %+v", o)
	}
	if o := got.Objects[2]; o.Domain != 3 || !o.Read[2].Allow {
		t.Errorf("orders: %+v", o)
	}
	board := got.Objects[1]
	for _, v := range slices.Concat(board.Create, board.Read, board.Write) {
		if v != none {
			t.Errorf("somebody has a right to what is gone: %+v", board)
		}
	}
	back, err := Align(got, running)
	if err != nil || !back.Objects[1].Read[1].Allow || back.Objects[3].Create[0].Allow {
		t.Errorf("the way back: %v\n%+v", err, back)
	}
	again, err := Align(got, fresh)
	if err != nil || !bytes.Equal(Encode(again), Encode(got)) {
		t.Errorf("aligning again changes something: %v\n%s", err, cmp.Diff(got, again))
	}
}

// A mailbox that is gone stays as what nobody reads or writes.
func TestAlignWithoutMailbox(t *testing.T) {
	fresh := shared()
	fresh.Domains, fresh.Routes, fresh.Objects = fresh.Domains[:3], fresh.Routes[:1], fresh.Objects[:2]
	for i := range fresh.Objects {
		o := &fresh.Objects[i]
		o.Create, o.Read, o.Write = o.Create[:3], o.Read[:3], o.Write[:3]
	}
	got, err := Align(shared(), fresh)
	if err != nil {
		t.Fatal(err)
	}
	if d, o := got.Domains[3], got.Objects[2]; !d.Mailbox || o.Read[2].Allow || got.Routes[1].Connect.Allow || len(got.Routes[1].Methods[0].Request.Permit) > 0 {
		t.Errorf("what is left of the mailbox: %+v, %+v", d, o)
	}
	if back, err := Align(got, shared()); err != nil || !back.Objects[2].Read[2].Allow || len(back.Routes[1].Methods[0].Request.Permit) == 0 {
		t.Errorf("the way back: %v", err)
	}
}

func TestAlignRefusesOtherObjects(t *testing.T) {
	for _, test := range []struct {
		what   string
		change func(*Image)
		want   string
	}{
		{"no longer shared", func(i *Image) { i.Objects[1].Shared = false }, "object board is of another kind"},
		{"shared now", func(i *Image) {
			o := &i.Objects[0]
			o.Shared, o.Count, o.Create[0] = true, 1, Verdict{Policy: abi.NoPolicy}
		}, "object frames is of another kind"},
		{"another size", func(i *Image) { i.Objects[1].Size = 8192 }, "keeps its size"},
		{"another interface", func(i *Image) {
			i.Interfaces = append(i.Interfaces, Interface{"s.v1.Other", []Method{{Name: "Place", Request: 3}}})
			i.Domains[3].Exports[0].Interface, i.Routes[1].Interface = 2, 2
		}, "keeps its interface"},
		{"memory now", func(i *Image) {
			i.Domains[3].Name = "letters"
			i.Objects[2].Name, i.Objects[0].Name = "letters", "orders"
		}, "another kind"},
		{"a domain now", func(i *Image) {
			i.Domains[3].Mailbox, i.Objects = false, i.Objects[:2]
		}, "orders"},
	} {
		fresh := shared()
		test.change(fresh)
		if err := fresh.Check(); err != nil {
			t.Errorf("%s: %v", test.what, err)
		} else if _, err := Align(shared(), fresh); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.what, err, test.want)
		}
	}
}

// What handles and mailboxes promise the kernel keeps, so a system with objects needs it.
func TestObjectsNeedTheKernel(t *testing.T) {
	img := shared()
	var got []string
	for _, o := range img.Unprivileged() {
		got = append(got, o.Error())
	}
	if len(got) != len(img.Objects) || !strings.Contains(got[0], "object frames") || !strings.Contains(got[2], "mailbox orders") {
		t.Errorf("obstacles: %q", got)
	}
	img.Objects, img.Domains, img.Routes = nil, img.Domains[:3], img.Routes[:1]
	if rest := img.Unprivileged(); len(rest) > 0 {
		t.Errorf("a control: without objects: %v", rest)
	}
}

// An image of a system without objects is, but for the version, what it was
// before there were any, and then a section that says so.
func TestSectionOfObjects(t *testing.T) {
	img := sample()
	b := Encode(img)
	tail := append([]byte{byte(len(sections)), byte(len(img.Domains) + 1), 0, 0, 0}, make([]byte, len(img.Domains)+1)...)
	if !bytes.HasSuffix(b, tail) {
		t.Errorf("the image ends in % x, want % x", b[len(b)-len(tail):], tail)
	}
}
