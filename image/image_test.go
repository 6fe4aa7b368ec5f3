package image

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ward/abi"
)

// sample uses every part of an image.
func sample() *Image {
	allow := Verdict{Allow: true, Policy: 0}
	width := Operand{What: Scalar, Path: []uint32{1}}
	name := Operand{What: Scalar, Path: []uint32{2}}
	long := func(v int64) Operand { return Operand{Value: Value{Long: v}} }
	text := func(v string) Operand { return Operand{Value: Value{IsString: true, String: v}} }
	when := Expr{Op: And, Args: []Expr{
		{Op: LessEq, Left: width, Right: long(1024)},
		{Op: Or, Args: []Expr{
			{Op: Not, Args: []Expr{{Op: Eq, Left: name, Right: text("secret")}}},
			{Op: Prefix, Left: name, Right: text("pub-")},
			{Op: In, Left: name, Set: []Value{{IsString: true, String: "a"}, {IsString: true, String: "b"}}},
			{Op: In, Left: width, Set: []Value{{Long: -1}, {Long: 7}}},
		}},
		{Op: If, Args: []Expr{
			{Op: Has, Path: []uint32{3}},
			{Op: Less, Left: Operand{What: Size, Path: []uint32{3, 1}}, Right: long(10)},
			{Op: Eq, Left: Operand{What: Count, Path: []uint32{4}}, Right: long(0)},
		}},
		{Op: Eq, Left: Operand{What: CellValue, Cell: 0}, Right: long(1)},
		{Op: True},
	}}
	effect := []Enter{{Cell: 1, Value: 2}, {Cell: 2, Value: 1}}
	users := Decision{Permit: []Rule{{Policy: 0, When: Expr{Op: Or, Args: []Expr{{Op: User}, {Op: Group, Atom: 1}}}}}}
	return &Image{
		Name: "picture", Require: []string{"landlock"},
		Domains: []Domain{
			{Name: "names", Names: true, Ring: Ring{1, "service"}, Start: Verdict{Policy: abi.NoPolicy}},
			{Name: "manager", Program: "/usr/bin/manager", Digest: make([]byte, 32), Args: []string{"-v"}, Env: []string{"A=b"},
				Host: true, Ring: Ring{1, "service"}, Files: []File{{"/srv/pictures", Read | Write, true, allow}},
				Listen: []Listen{{"grpc", "tcp:0.0.0.0:1", false}}, Connect: []string{"tcp:*:443"},
				Exports: []Export{{0, "/run/pictures.sock", allow}}, Needs: []string{"x.Y"}, Tmp: 1 << 20,
				Start: allow, Quota: Quota{Processes: 1, Memory: 2, CPUWeight: 3, Files: 4, Gates: 5},
				Children: Children{InheritListed, []Entry{{0, 0}}, 3, 2, 4}},
			{Name: "client", Program: "/usr/bin/client", Ring: Ring{3, "user"}, Once: true, Restart: RestartAlways, Start: allow, Children: Children{Inherit: InheritAll}},
			{Name: "worker", Program: "/usr/bin/worker", Ring: Ring{3, "user"}, Start: allow, Template: true},
		},
		Spawns:     []Spawn{{Parent: 1, Template: 3, Spawn: allow, Adopt: Verdict{Policy: abi.NoPolicy}}},
		Grants:     []Grant{{From: 1, To: 3, Entry: Entry{0, 0}, Verdict: allow}},
		Interfaces: []Interface{{"picture.v1.Pictures", []Method{{"Get", false, true, 0, 1}}}},
		Messages: []Message{
			{Name: "picture.v1.Request", Fields: []Field{
				{Number: 1, Name: "width", Type: Int32, HasRange: true, Min: uint64(0xffffffffffffffff), Max: 4096, Values: []int64{-1, 7}},
				{Number: 2, Name: "name", Type: String, MaxLen: 64, MaxRunes: 10, In: []string{"a", "b"}, Prefix: "p", Suffix: "s", Class: [2]uint64{1, 2}, Default: true},
				{Number: 3, Name: "inner", Type: Nested, Card: Optional, Message: 1, MaxLen: 100, Oneof: 1},
				{Number: 4, Name: "tags", Type: Uint32, Card: Repeated, MaxItems: 8},
				{Number: 5, Name: "ratio", Type: Double, HasRange: true, Min: math.Float64bits(-1), Max: math.Float64bits(1)},
			}, Required: []Oneof{{"which", []uint32{2}}}},
			{Name: "picture.v1.Inner", Fields: []Field{{Number: 1, Name: "data", Type: Bytes, MaxLen: 4096, Required: true}}},
		},
		Policies: []Policy{{"pictures for all", "policy.cedar:3", false}, {"never", "policy.cedar:9", true}},
		Routes: []Route{
			{Client: 2, Server: 1, Connect: allow, Lookup: allow, Methods: []MethodPolicy{{
				Request: Decision{Permit: []Rule{{Policy: 0, Audit: true, When: when, Enter: effect, Rate: Rate{Every: 1e7, Burst: 20}}}, Forbid: []Rule{{Policy: 1, When: Expr{Op: Suffix, Left: name, Right: text("x")}}}},
				Reply:   Decision{Permit: []Rule{{Policy: 0, When: Expr{Op: True}}}},
			}}},
			{Client: abi.NoDomain, Server: 1, Connect: Verdict{Policy: 1}, Lookup: Verdict{Policy: abi.NoPolicy}, ConnectUser: users, Methods: []MethodPolicy{{Request: users}}},
		},
		Metadata: []Metadata{{"traceparent", 64}},
		Users:    []string{"alice"},
		Groups:   []string{"wheel", "printer"},
		States: []State{
			{Name: "session", Per: PerGate, Values: []string{"new", "open"}, Moves: []Move{{0, 1}, {1, 0}}},
			{Name: "level", Per: PerDomain, Values: []string{"a", "b", "c"}, Initial: 2, Moves: []Move{{2, 0}}},
			{Name: "mode", Per: PerSystem, Values: []string{"x", "y"}},
		},
		Cells: []Cell{
			{State: 0, Domain: abi.NoDomain, Word: GateWord, Bits: 1},
			{State: 1, Domain: 1, Word: 1, Shift: 4, Bits: 2},
			{State: 2, Domain: abi.NoDomain, Word: 1, Shift: 47, Bits: 1},
			{State: 1, Domain: 2, Word: 0, Bits: 3},
		},
		Words: 2,
	}
}

func TestRoundTrip(t *testing.T) {
	img := sample()
	if err := img.Check(); err != nil {
		t.Fatal(err)
	}
	encoded := Encode(img)
	got, err := Decode(encoded)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample(), got); diff != "" {
		t.Errorf("decoded differs:\n%s", diff)
	}
	if diff := cmp.Diff(sample(), img); diff != "" {
		t.Errorf("Encode changed its argument:\n%s", diff)
	}
	if !bytes.Equal(Encode(got), encoded) {
		t.Error("encoding is not canonical")
	}
	if h := Hash(encoded); len(h) != 64 || h != Hash(Encode(sample())) {
		t.Errorf("hash %s is not one of the content", h)
	}
}

// Each prefix of an image, and each image with a byte more, is refused.
func TestDecodeRefusesOtherLengths(t *testing.T) {
	b := Encode(sample())
	for n := range b {
		if _, err := Decode(b[:n]); err == nil {
			t.Fatalf("first %d of %d bytes were accepted", n, len(b))
		}
	}
	if _, err := Decode(append(b, 0)); err == nil {
		t.Error("a trailing byte was accepted")
	}
}

// A list that claims to be long costs nothing before its elements are read.
func TestDecodeAllocationIsBounded(t *testing.T) {
	c := codec{}
	c.str(new(string))
	c.number(1<<24, math.MaxUint32) // so many required mechanisms
	c.b = append(c.b, 0xff)
	b := append([]byte(Magic), Version, 0, 0, 0, 1, byte(len(c.b)), 0, 0, 0)
	b = append(b, c.b...)
	if n := testing.AllocsPerRun(10, func() { Decode(b) }); n > 20 {
		t.Errorf("%v allocations for %d bytes", n, len(b))
	}
}

// The table of an interface's methods fits the message that hands a gate over.
func TestMethodTable(t *testing.T) {
	for n, ok := range map[int]bool{500: true, 900: false} {
		img := sample()
		i := len(img.Interfaces)
		img.Interfaces = append(img.Interfaces, Interface{Name: "t.Many"})
		c := abi.Control{Op: abi.OpGate, Interface: "t.Many"}
		for m := range n {
			name := fmt.Sprintf("LongNameOfAMethod%04d", m)
			img.Interfaces[i].Methods = append(img.Interfaces[i].Methods, Method{Name: name})
			c.Methods = append(c.Methods, abi.ControlMethod{Name: name})
		}
		if err := img.Check(); (err == nil) != ok {
			t.Errorf("%d methods: %v", n, err)
		}
		if _, err := c.AppendTo(nil); ok && err != nil {
			t.Errorf("%d methods are accepted, but: %v", n, err)
		}
	}
}

func TestCheck(t *testing.T) {
	deep := Expr{Op: True}
	for range MaxDepth {
		deep = Expr{Op: Not, Args: []Expr{deep}}
	}
	wide := Expr{Op: And, Args: make([]Expr, MaxNodes)}
	for i := range wide.Args {
		wide.Args[i].Op = True
	}
	request := func(i *Image) *Rule { return &i.Routes[0].Methods[0].Request.Permit[0] }
	for name, spoil := range map[string]func(*Image){
		"system name":              func(i *Image) { i.Name = "a/b" },
		"domain name as path":      func(i *Image) { i.Domains[1].Name = ".." },
		"domain twice":             func(i *Image) { i.Domains[1].Name = "client" },
		"two name servers":         func(i *Image) { i.Domains[1].Names = true },
		"program relative":         func(i *Image) { i.Domains[1].Program = "bin/x" },
		"program not clean":        func(i *Image) { i.Domains[1].Program = "/usr/../x" },
		"digest length":            func(i *Image) { i.Domains[1].Digest = []byte{1} },
		"argument with NUL":        func(i *Image) { i.Domains[1].Args = []string{"\x00"} },
		"environment":              func(i *Image) { i.Domains[1].Env = []string{"novalue"} },
		"ring":                     func(i *Image) { i.Domains[1].Ring.Level = 32 },
		"file without access":      func(i *Image) { i.Domains[1].Files[0].Access = 0 },
		"file without policy":      func(i *Image) { i.Domains[1].Files[0].Verdict = Verdict{true, abi.NoPolicy} },
		"allow by a forbid":        func(i *Image) { i.Domains[1].Start = Verdict{true, 1} },
		"policy out of range":      func(i *Image) { i.Domains[1].Start.Policy = 2 },
		"socket too long":          func(i *Image) { i.Domains[1].Exports[0].Socket = "/" + strings.Repeat("x", 107) },
		"export out of range":      func(i *Image) { i.Domains[1].Exports[0].Interface = 1 },
		"message out of range":     func(i *Image) { i.Interfaces[0].Methods[0].Request = 2 },
		"message contains itself":  func(i *Image) { i.Messages[0].Fields[2].Message = 0 },
		"fields out of order":      func(i *Image) { i.Messages[0].Fields[1].Number = 1 },
		"reserved field number":    func(i *Image) { i.Messages[1].Fields[0].Number = 19000 },
		"empty range":              func(i *Image) { i.Messages[0].Fields[0].Min = 5000 },
		"range wider than type":    func(i *Image) { i.Messages[0].Fields[0].Max = 1 << 31 },
		"set not sorted":           func(i *Image) { i.Messages[0].Fields[0].Values = []int64{2, 1} },
		"strings not sorted":       func(i *Image) { i.Messages[0].Fields[1].In = []string{"b", "a"} },
		"length over message":      func(i *Image) { i.Messages[0].Fields[1].MaxLen = abi.MaxMessage + 1 },
		"oneof member":             func(i *Image) { i.Messages[0].Required[0].Fields = []uint32{0} },
		"route twice":              func(i *Image) { i.Routes[1] = i.Routes[0] },
		"route to nobody":          func(i *Image) { i.Routes[0].Server = 3 },
		"route not exported":       func(i *Image) { i.Routes[0].Server = 2 },
		"route lacks methods":      func(i *Image) { i.Routes[0].Methods = nil },
		"rules out of order":       func(i *Image) { r := &i.Routes[0].Methods[0].Request; r.Permit = append(r.Permit, r.Permit[0]) },
		"permit among forbids":     func(i *Image) { i.Routes[0].Methods[0].Request.Forbid[0].Policy = 0 },
		"condition too deep":       func(i *Image) { request(i).When = deep },
		"condition too large":      func(i *Image) { request(i).When = wide },
		"unknown operation":        func(i *Image) { request(i).When = Expr{Op: 99} },
		"true with arguments":      func(i *Image) { request(i).When = Expr{Op: True, Args: []Expr{{Op: True}}} },
		"user in a domain's route": func(i *Image) { request(i).When = Expr{Op: User} },
		"user out of range":        func(i *Image) { i.Routes[1].ConnectUser.Permit[0].When = Expr{Op: User, Atom: 1} },
		"parameter in connect":     func(i *Image) { i.Routes[1].ConnectUser.Permit[0].When = Expr{Op: Has, Path: []uint32{1}} },
		"no such field":            func(i *Image) { request(i).When = Expr{Op: Has, Path: []uint32{9}} },
		"has of implicit":          func(i *Image) { request(i).When = Expr{Op: Has, Path: []uint32{1}} },
		"text against number":      func(i *Image) { request(i).When.Args[0].Right = Operand{Value: Value{IsString: true}} },
		"text ordered":             func(i *Image) { request(i).When.Args[0].Left.Path = []uint32{2} },
		"size of a number":         func(i *Image) { request(i).When.Args[0].Left.What = Size },
		"scalar of a double":       func(i *Image) { request(i).When.Args[0].Left.Path = []uint32{5} },
		"path through a scalar":    func(i *Image) { request(i).When.Args[0].Left.Path = []uint32{1, 1} },
		"set of another type":      func(i *Image) { request(i).When.Args[1].Args[2].Set = []Value{{Long: 1}} },
		"no such metadata key":     func(i *Image) { request(i).When = Expr{Op: Has, Path: MetadataPath(1)} },
		"metadata of key 0":        func(i *Image) { request(i).When = Expr{Op: Has, Path: []uint32{MetadataField, 0}} },
		"all metadata":             func(i *Image) { request(i).When = Expr{Op: Has, Path: []uint32{MetadataField}} },
		"below a metadata key":     func(i *Image) { request(i).When = Expr{Op: Has, Path: []uint32{MetadataField, 1, 1}} },
		"metadata below a field":   func(i *Image) { request(i).When = Expr{Op: Has, Path: []uint32{3, MetadataField, 1}} },
		"metadata as a number":     func(i *Image) { request(i).When.Args[0].Left.Path = MetadataPath(0) },
		"size of a metadata text": func(i *Image) {
			request(i).When.Args[0].Left = Operand{What: Size, Path: MetadataPath(0)}
		},
		"metadata on connecting": func(i *Image) {
			i.Routes[1].ConnectUser.Permit[0].When = Expr{Op: Has, Path: MetadataPath(0)}
		},
		"metadata of a client's stream": func(i *Image) {
			request(i).When, i.Interfaces[0].Methods[0].ClientStream = Expr{Op: Has, Path: MetadataPath(0)}, true
		},
		"metadata key in upper case":  func(i *Image) { i.Metadata[0].Key = "Trace" },
		"user name with a colon":      func(i *Image) { i.Users[0] = "a:b" },
		"decision on users elsewhere": func(i *Image) { i.Routes[0].ConnectUser = i.Routes[1].ConnectUser },
		"no such cardinality":         func(i *Image) { i.Messages[0].Fields[0].Card = 3 },
		"listen without address":      func(i *Image) { i.Domains[1].Listen[0].Address = "" },
		"state twice":                 func(i *Image) { i.States[1].Name = "mode" },
		"state without values":        func(i *Image) { i.States[2].Values = nil },
		"initial value out of range":  func(i *Image) { i.States[1].Initial = 3 },
		"state of no kind":            func(i *Image) { i.States[1].Per = 4 },
		"value twice":                 func(i *Image) { i.States[2].Values[1] = "x" },
		"move to nowhere":             func(i *Image) { i.States[0].Moves[0].To = 2 },
		"move that stays":             func(i *Image) { i.States[0].Moves[0].To = 0 },
		"moves out of order":          func(i *Image) { m := i.States[0].Moves; m[0], m[1] = m[1], m[0] },
		"cell of no state":            func(i *Image) { i.Cells[0].State = 3 },
		"gate's cell in a word":       func(i *Image) { i.Cells[0].Word = 0 },
		"system's cell at a gate":     func(i *Image) { i.Cells[2].Word = GateWord },
		"cell out of range":           func(i *Image) { i.Cells[2].Word = 2 },
		"cell of no domain":           func(i *Image) { i.Cells[1].Domain = 4 },
		"system's cell of a domain":   func(i *Image) { i.Cells[2].Domain = 0 },
		"two cells of one instance":   func(i *Image) { i.Cells[3].Domain = 1 },
		"cell in the sequence number": func(i *Image) { i.Cells[2].Shift = 48 },
		"cell too narrow":             func(i *Image) { i.Cells[1].Bits = 1 },
		"cells that share bits":       func(i *Image) { i.Cells[1].Shift = 46 },
		"too many words":              func(i *Image) { i.Words = MaxWords + 1 },
		"effect of a forbid":          func(i *Image) { i.Routes[0].Methods[0].Request.Forbid[0].Enter = request(i).Enter },
		"rate of a forbid":            func(i *Image) { i.Routes[0].Methods[0].Request.Forbid[0].Rate = request(i).Rate },
		"effect on connecting":        func(i *Image) { i.Routes[1].ConnectUser.Permit[0].Rate = request(i).Rate },
		"state read on connecting":    func(i *Image) { i.Routes[1].ConnectUser.Permit[0].When = request(i).When.Args[3] },
		"enters no cell":              func(i *Image) { request(i).Enter[1].Cell = 4 },
		"enters out of order":         func(i *Image) { request(i).Enter[1].Cell = 1 },
		"enters no value":             func(i *Image) { request(i).Enter[1].Value = 2 },
		"enters two words":            func(i *Image) { request(i).Enter[1] = Enter{Cell: 3} },
		"rate without burst":          func(i *Image) { request(i).Rate.Burst = 0 },
		"burst without rate":          func(i *Image) { request(i).Rate.Every = 0 },
		"rate that never refills":     func(i *Image) { request(i).Rate.Every = MaxRefill },
		"reads no cell":               func(i *Image) { request(i).When.Args[3].Left.Cell = 4 },
		"bad policy ID":               func(i *Image) { i.Policies[0].ID = "a\nb" },
	} {
		t.Run(name, func(t *testing.T) {
			img := sample()
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

// A chain of messages as long as an image allows is refused, not recursed into.
func TestCheckLongChain(t *testing.T) {
	img := &Image{Name: "x"}
	for i := range uint32(200000) {
		img.Messages = append(img.Messages, Message{Name: "M", Fields: []Field{{Number: 1, Name: "f", Type: Nested, Card: Optional, Message: i + 1}}})
	}
	img.Messages = append(img.Messages, Message{Name: "M"})
	if err := img.Check(); err == nil {
		t.Error("accepted")
	}
}

func FuzzDecode(f *testing.F) {
	b := Encode(sample())
	f.Add(b)
	f.Add(Encode(&Image{Name: "x"}))
	f.Add(Encode(shared()))
	f.Add(b[:len(b)/2])
	f.Fuzz(func(t *testing.T, b []byte) {
		img, err := Decode(b)
		if err != nil {
			return
		}
		if err := img.Check(); err != nil {
			t.Fatalf("decoded, but: %v", err)
		}
		if !bytes.Equal(Encode(img), b) {
			t.Fatal("two encodings of one image")
		}
	})
}

// A decision has at most MaxEffects permits with effects, and looks at MaxRead words at most.
func TestEffectLimits(t *testing.T) {
	img := sample()
	d := &img.Routes[0].Methods[0].Request
	permit := func(n int) {
		d.Permit = nil
		for range n {
			d.Permit = append(d.Permit, Rule{Policy: uint32(len(img.Policies)), When: Expr{Op: True}, Rate: Rate{1, 1}})
			img.Policies = append(img.Policies, Policy{ID: "p"})
		}
	}
	permit(MaxEffects)
	if err := img.Check(); err != nil {
		t.Errorf("%d permits with effects: %v", MaxEffects, err)
	}
	permit(MaxEffects + 1)
	if err := img.Check(); err == nil {
		t.Errorf("%d permits with effects are accepted", MaxEffects+1)
	}
	d.Permit = d.Permit[:1]
	cells := func(n int) {
		img.Words, img.Cells, img.States = uint32(n), nil, nil
		e := Expr{Op: Or}
		for i := range uint32(n) {
			img.States = append(img.States, State{Name: fmt.Sprint("s", i), Per: PerSystem, Values: []string{"x"}})
			img.Cells = append(img.Cells, Cell{State: i, Domain: abi.NoDomain, Word: i, Bits: 1})
			e.Args = append(e.Args, Expr{Op: Eq, Left: Operand{What: CellValue, Cell: i}})
		}
		d.Permit[0].When = e
	}
	cells(MaxRead)
	if err := img.Check(); err != nil {
		t.Errorf("%d words: %v", MaxRead, err)
	}
	cells(MaxRead + 1)
	if err := img.Check(); err == nil {
		t.Errorf("%d words are accepted", MaxRead+1)
	}
}

func TestInitial(t *testing.T) {
	img := sample()
	for word, want := range map[uint32]uint64{GateWord: 0, 0: 2, 1: 2 << 4} {
		if got := img.Initial(word); got != want {
			t.Errorf("word %d is %#x at first, want %#x", word, got, want)
		}
	}
	if v := img.Cells[1].Value(img.Initial(1)); v != 2 {
		t.Errorf("value %d of cell 1, want 2", v)
	}
}
