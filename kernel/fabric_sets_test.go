package kernel

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
	"ward/filter"
	"ward/image"
	"ward/policy/eval"
)

// setsImage is echoImage with a request of strings and numbers, alone and
// repeated: name 1, id 2, tags 3, codes 4, site 5, port 6, flags 7.
func setsImage() *image.Image {
	img := echoImage()
	img.Messages[0].Fields = []image.Field{
		{Number: 1, Name: "name", Type: image.String, MaxLen: 4096},
		{Number: 2, Name: "id", Type: image.Int64},
		{Number: 3, Name: "tags", Type: image.String, Card: image.Repeated, MaxLen: 300, MaxItems: 16},
		{Number: 4, Name: "codes", Type: image.Sint64, Card: image.Repeated, MaxItems: 64},
		{Number: 5, Name: "site", Type: image.String, Card: image.Optional, MaxLen: 300},
		{Number: 6, Name: "port", Type: image.Uint32, Card: image.Optional},
		{Number: 7, Name: "flags", Type: image.Bool, Card: image.Repeated, MaxItems: 8, HasRange: true, Max: 1},
	}
	img.Policies = append(img.Policies, image.Policy{ID: "forbid", Forbid: true})
	return img
}

// manyTexts are n different strings of mixed lengths, in order.
func manyTexts(n int) []string {
	var all []string
	for i := range n {
		s := fmt.Sprintf("%x.example", uint32(i)*2654435761)
		switch i % 5 {
		case 0:
			s = fmt.Sprint(i)
		case 1:
			s = strings.Repeat("ab", i%60) + s
		case 2:
			s = "www." + s
		}
		all = append(all, s)
	}
	all = append(all, "", "a", "abcdefgh", "abcdefg", "abcdefgh\x00", "ü")
	slices.Sort(all)
	return slices.Compact(all)
}

func textSet(all []string) (set []image.Value) {
	for _, s := range all {
		set = append(set, image.Value{IsString: true, String: s})
	}
	return set
}

// manyNumbers are n different numbers far from each other, in order.
func manyNumbers(n int) (set []image.Value) {
	for i := range n {
		set = append(set, image.Value{Long: (int64(i) - int64(n)/3) * 1_000_003})
	}
	set = append(set, image.Value{Long: -1 << 63}, image.Value{Long: 1<<63 - 1})
	slices.SortFunc(set, func(a, b image.Value) int { return cmp.Compare(a.Long, b.Long) })
	return set
}

// setArgs are the parameters of a message of setsImage.
type setArgs struct {
	name, site   string
	id           int64
	port         uint32
	hasSite      bool
	hasPort      bool
	tags         []string
	codes, flags []int64
}

func (a *setArgs) Has(p []uint32) bool { return p[0] == 5 && a.hasSite || p[0] == 6 && a.hasPort }

func (a *setArgs) Long(p []uint32, what image.What) int64 {
	if p[0] == 6 {
		return int64(a.port)
	}
	return a.id
}

func (a *setArgs) Text(p []uint32) string {
	if p[0] == 5 {
		return a.site
	}
	return a.name
}

func (a *setArgs) Elements(p []uint32) (all []image.Value) {
	switch p[0] {
	case 3:
		return textSet(a.tags)
	case 7:
		for _, v := range a.flags {
			all = append(all, image.Value{Long: v})
		}
		return all
	}
	for _, v := range a.codes {
		all = append(all, image.Value{Long: v})
	}
	return all
}

func (a *setArgs) encode(packed bool) []byte {
	var b []byte
	text := func(n protowire.Number, s string) {
		b = protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
	}
	number := func(n protowire.Number, v uint64) {
		b = protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
	}
	if a.name != "" {
		text(1, a.name)
	}
	if a.id != 0 {
		number(2, uint64(a.id))
	}
	for _, s := range a.tags {
		text(3, s)
	}
	if packed && len(a.codes) > 0 {
		var p []byte
		for _, v := range a.codes {
			p = protowire.AppendVarint(p, protowire.EncodeZigZag(v))
		}
		b = protowire.AppendBytes(protowire.AppendTag(b, 4, protowire.BytesType), p)
	} else {
		for _, v := range a.codes {
			number(4, protowire.EncodeZigZag(v))
		}
	}
	if a.hasSite {
		text(5, a.site)
	}
	if a.hasPort {
		number(6, uint64(a.port))
	}
	for _, v := range a.flags {
		number(7, uint64(v))
	}
	return b
}

// sampleSets makes a message whose values are often among the constants.
func sampleSets(r *rand.Rand, words []string, numbers []image.Value) *setArgs {
	word := func() string {
		s := words[r.IntN(len(words))]
		switch r.IntN(8) {
		case 6:
			s = "abcdefgh"
		case 7:
			s = ""
		case 0:
			s += "x"
		case 1:
			s = s[:len(s)/2]
			for len(s) > 0 && s[len(s)-1] >= 0x80 {
				s = s[:len(s)-1]
			}
		case 2:
			s = strings.Repeat("a", r.IntN(130)) + s
		}
		return s
	}
	number := func() int64 {
		if r.IntN(8) == 0 {
			return numbers[5].Long
		}
		return numbers[r.IntN(len(numbers))].Long + int64(r.IntN(3)-1)*int64(r.IntN(2))
	}
	a := &setArgs{name: word(), id: number(), hasSite: r.IntN(2) == 0, hasPort: r.IntN(2) == 0}
	if r.IntN(8) == 0 {
		a.name = ""
	}
	if r.IntN(8) == 0 {
		a.id = 0
	}
	if a.hasSite {
		a.site = word()
	}
	if a.hasPort {
		a.port = uint32(number())
	}
	for range r.IntN(4) {
		a.tags = append(a.tags, word())
	}
	for range r.IntN(4) {
		a.codes = append(a.codes, number())
	}
	for range r.IntN(3) {
		a.flags = append(a.flags, int64(r.IntN(2)))
	}
	return a
}

func operand(what image.What, n uint32) image.Operand {
	return image.Operand{What: what, Path: []uint32{n}}
}

// TestLargeSets judges messages by conditions with 10,000 strings and 10,000
// numbers, on single parameters and on elements, and compares the verdicts
// with those of policy/eval.
func TestLargeSets(t *testing.T) {
	img := setsImage()
	words, numbers := manyTexts(10_000), manyNumbers(10_000)
	texts := textSet(words)
	some := textSet([]string{"", "abcdefgh", "www." + strings.Repeat("ab", 3)})
	like := func(n uint32, parts ...string) image.Expr {
		return image.Expr{Op: image.Like, Left: operand(image.Scalar, n), Set: textSet(parts)}
	}
	conditions := map[string]image.Expr{
		"string in 10,000":            {Op: image.In, Left: operand(image.Scalar, 1), Set: texts},
		"optional string in 10,000":   {Op: image.In, Left: operand(image.Scalar, 5), Set: texts},
		"number in 10,000":            {Op: image.In, Left: operand(image.Scalar, 2), Set: numbers},
		"optional number in 10,000":   {Op: image.In, Left: operand(image.Scalar, 6), Set: numbers},
		"an element in 10,000":        {Op: image.AnyIn, Left: operand(image.Elements, 3), Set: texts},
		"all elements in 10,000":      {Op: image.Not, Args: []image.Expr{{Op: image.AnyOut, Left: operand(image.Elements, 3), Set: texts}}},
		"an element of few":           {Op: image.AnyIn, Left: operand(image.Elements, 3), Set: some},
		"numbers: one in 10,000":      {Op: image.AnyIn, Left: operand(image.Elements, 4), Set: numbers},
		"numbers: all in 10,000":      {Op: image.Not, Args: []image.Expr{{Op: image.AnyOut, Left: operand(image.Elements, 4), Set: numbers}}},
		"one of them is the sixth":    {Op: image.AnyIn, Left: operand(image.Elements, 4), Set: numbers[5:6]},
		"a flag is set":               {Op: image.AnyIn, Left: operand(image.Elements, 7), Set: []image.Value{{Long: 1}}},
		"no flag but set ones":        {Op: image.Not, Args: []image.Expr{{Op: image.AnyOut, Left: operand(image.Elements, 7), Set: []image.Value{{Long: 1}}}}},
		"both ends":                   like(1, "w", "e"),
		"in the middle":               like(1, "", "ab", ""),
		"two gaps":                    like(1, "ab", "a", "e"),
		"three texts":                 like(1, "", "b", ".e", "ple"),
		"two patterns":                {Op: image.Or, Args: []image.Expr{like(1, "", "11", ""), like(1, "www", "f", "")}},
		"a pattern and a set":         {Op: image.And, Args: []image.Expr{like(5, "", "a", ""), {Op: image.Not, Args: []image.Expr{{Op: image.In, Left: operand(image.Scalar, 5), Set: texts}}}}},
		"some in a set, others not":   {Op: image.And, Args: []image.Expr{{Op: image.AnyIn, Left: operand(image.Elements, 7), Set: []image.Value{{Long: 1}}}, {Op: image.AnyOut, Left: operand(image.Elements, 7), Set: []image.Value{{Long: 1}}}}},
		"a set in each of two fields": {Op: image.Or, Args: []image.Expr{{Op: image.In, Left: operand(image.Scalar, 1), Set: texts}, {Op: image.AnyOut, Left: operand(image.Elements, 3), Set: some}}},
	}
	g := newGateTest(t, img, FabricConfig{Gates: 2, Programs: 4})
	img.Interfaces[0].Methods[0].ClientStream = true
	g.replace(img)
	g.mustSend(abi.Request, message(abi.Header{Kind: abi.KindCall, Gen: 1}, nil))
	run, err := g.gate.Runner(abi.Request)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	for name, when := range conditions {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(3, 2026))
			img.Routes[0].Methods[0].Request = image.Decision{Permit: []image.Rule{{Policy: 0, When: when}}}
			if err := img.Routes[0].Methods[0].Request.Fits(); err != nil {
				t.Fatal(err)
			}
			g.replace(img)
			var verdicts [2]int
			for i := range 1500 {
				a := sampleSets(r, words, numbers)
				body := a.encode(i%2 == 0)
				if len(body) > maxTestRun {
					continue
				}
				want, held := abi.ReasonDefault, 0
				if eval.Holds(&when, a, eval.Client{}) {
					want, held = abi.ReasonPermit, 1
				}
				verdicts[held]++
				if _, _, err := run.Run(message(abi.Header{Kind: abi.KindStreamItem, Gen: 1}, body), 1); err != nil {
					t.Fatal(err)
				}
				if got := g.verdict(abi.Request, 0).Reason(); got != want {
					t.Fatalf("%+v: %v, the evaluator says %v", a, got, want)
				}
			}
			if verdicts[0] == 0 || verdicts[1] == 0 {
				t.Errorf("the messages tell nothing: %d denied, %d admitted", verdicts[0], verdicts[1])
			}
		})
	}
}

// replace swaps the programs for those of img.
func (g *gateTest) replace(img *image.Image) {
	g.t.Helper()
	spec, err := filter.Build(img, 0, filter.Atoms{User: -1})
	if err != nil {
		g.t.Fatal(err)
	}
	if err := g.route.Replace(spec); err != nil {
		g.t.Fatalf("%+v", err)
	}
}

// TestLargeBounds: the interface itself may list 10,000 values for a string
// and for the elements of a repeated one.
func TestLargeBounds(t *testing.T) {
	img := setsImage()
	words := manyTexts(10_000)
	img.Messages[0].Fields[0].In = words
	img.Messages[0].Fields[2].In = words
	for _, v := range manyNumbers(10_000) {
		img.Messages[0].Fields[1].Values = append(img.Messages[0].Fields[1].Values, v.Long)
	}
	img.Routes[0].Methods[0].Request = image.Decision{Permit: []image.Rule{{Policy: 0, When: image.Expr{Op: image.True}}}}
	g := newGateTest(t, img, FabricConfig{Gates: 2, Programs: 4})
	r := rand.New(rand.NewPCG(4, 2026))
	in := func(s string) bool { _, ok := slices.BinarySearch(words, s); return ok }
	run, err := g.gate.Runner(abi.Request)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	var outcomes [2]int
	for i := range 3000 {
		a := sampleSets(r, words, manyNumbers(10_000))
		a.codes, a.flags, a.hasSite, a.hasPort = nil, nil, false, false
		ok := in(a.name) && !slices.ContainsFunc(a.tags, func(s string) bool { return !in(s) }) && slices.Contains(img.Messages[0].Fields[1].Values, a.id)
		body := a.encode(false)
		if len(body) > maxTestRun {
			continue
		}
		h := abi.Header{Kind: abi.KindCall, Slot: uint16(i % abi.Slots), Gen: uint16(i)}
		if _, _, err := run.Run(message(h, body), 1); err != nil {
			t.Fatal(err)
		}
		want := abi.ReasonBounds
		if ok {
			want = abi.ReasonPermit
			outcomes[1]++
		} else {
			outcomes[0]++
		}
		if got := g.verdict(abi.Request, h.Slot).Reason(); got != want && got != abi.ReasonSlotBusy {
			t.Fatalf("%+v: %v, want %v", a, got, want)
		}
	}
	if outcomes[0] == 0 || outcomes[1] == 0 {
		t.Errorf("the messages tell nothing: %v", outcomes)
	}
}
