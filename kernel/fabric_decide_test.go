package kernel

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"ward/abi"
	"ward/filter"
	"ward/image"
)

// operands is what random conditions look at: paths into allImage.
var (
	longOperands = []image.Operand{
		{What: image.Scalar, Path: []uint32{1}}, {What: image.Scalar, Path: []uint32{2}}, {What: image.Scalar, Path: []uint32{5}},
		{What: image.Scalar, Path: []uint32{12}}, {What: image.Count, Path: []uint32{23}}, {What: image.Size, Path: []uint32{17}},
		{What: image.Scalar, Path: []uint32{26, 1}},
	}
	textOperands = []image.Operand{{What: image.Scalar, Path: []uint32{16}}, {What: image.Scalar, Path: []uint32{19}}, {What: image.Scalar, Path: []uint32{20}}}
	constTexts   = []string{"", "a", "www", "api", "pre-a.org", "ü", "aaa", strings.Repeat("b", 20), strings.Repeat("b", 40), strings.Repeat("x", 33) + "b", strings.Repeat("x", 33) + "a", "xyz0-"}
)

func randomLong(r *rand.Rand) image.Value {
	if r.IntN(4) == 0 {
		return image.Value{Long: int64(r.Uint64())}
	}
	return image.Value{Long: int64(r.IntN(9)) - 4}
}

// randomExpr is a condition of at most depth levels.
func randomExpr(r *rand.Rand, depth int) image.Expr {
	if depth > 0 && r.IntN(2) == 0 {
		var args []image.Expr
		for range 1 + r.IntN(3) {
			args = append(args, randomExpr(r, depth-1))
		}
		switch r.IntN(4) {
		case 0:
			return image.Expr{Op: image.And, Args: args}
		case 1:
			return image.Expr{Op: image.Or, Args: args}
		case 2:
			return image.Expr{Op: image.Not, Args: args[:1]}
		}
		return image.Expr{Op: image.If, Args: []image.Expr{args[0], randomExpr(r, depth-1), randomExpr(r, depth-1)}}
	}
	long, text := longOperands[r.IntN(len(longOperands))], textOperands[r.IntN(len(textOperands))]
	str := image.Operand{Value: image.Value{IsString: true, String: constTexts[r.IntN(len(constTexts))]}}
	switch r.IntN(10) {
	case 0:
		return image.Expr{Op: image.True}
	case 1:
		return image.Expr{Op: image.Has, Path: [][]uint32{{20}, {21}, {22}, {26}, {26, 1}}[r.IntN(5)]}
	case 2, 3, 4:
		e := image.Expr{Op: []image.Op{image.Eq, image.Less, image.LessEq}[r.IntN(3)], Left: long, Right: image.Operand{Value: randomLong(r)}}
		if r.IntN(3) == 0 {
			e.Right = longOperands[r.IntN(len(longOperands))]
		}
		if r.IntN(3) == 0 {
			e.Left, e.Right = e.Right, e.Left
		}
		return e
	case 5:
		return image.Expr{Op: image.Eq, Left: text, Right: str}
	case 6:
		return image.Expr{Op: image.Prefix, Left: text, Right: str}
	case 7:
		return image.Expr{Op: image.Suffix, Left: text, Right: str}
	case 8:
		e := image.Expr{Op: image.In, Left: long}
		for range 1 + r.IntN(12) {
			e.Set = append(e.Set, randomLong(r))
		}
		slices.SortFunc(e.Set, func(a, b image.Value) int {
			if a.Long < b.Long {
				return -1
			}
			return 1
		})
		e.Set = slices.Compact(e.Set)
		return e
	}
	e := image.Expr{Op: image.In, Left: text}
	for _, s := range constTexts {
		if r.IntN(2) == 0 {
			e.Set = append(e.Set, image.Value{IsString: true, String: s})
		}
	}
	if e.Set == nil {
		e.Set = []image.Value{{IsString: true, String: "none"}}
	}
	slices.SortFunc(e.Set, func(a, b image.Value) int { return strings.Compare(a.String, b.String) })
	return e
}

// evaluate is the oracle: what a condition says about the values that the model read.
func evaluate(e *image.Expr, m *model) bool {
	long := func(o image.Operand) int64 {
		if o.What == image.Constant {
			return o.Value.Long
		}
		switch v := m.caps[pathName(m.img, o)].(type) {
		case int64:
			return v
		case uint64:
			return int64(v)
		case string:
			return int64(len(v))
		}
		return 0
	}
	text := func(o image.Operand) string {
		if o.What == image.Constant {
			return o.Value.String
		}
		s, _ := m.caps[pathName(m.img, o)].(string)
		return s
	}
	switch e.Op {
	case image.True:
		return true
	case image.And:
		return !slices.ContainsFunc(e.Args, func(a image.Expr) bool { return !evaluate(&a, m) })
	case image.Or:
		return slices.ContainsFunc(e.Args, func(a image.Expr) bool { return evaluate(&a, m) })
	case image.Not:
		return !evaluate(&e.Args[0], m)
	case image.If:
		if evaluate(&e.Args[0], m) {
			return evaluate(&e.Args[1], m)
		}
		return evaluate(&e.Args[2], m)
	case image.Has:
		_, ok := m.caps[pathName(m.img, image.Operand{Path: e.Path})]
		return ok
	case image.Less:
		return long(e.Left) < long(e.Right)
	case image.LessEq:
		return long(e.Left) <= long(e.Right)
	case image.Eq:
		if e.Right.Value.IsString {
			return text(e.Left) == e.Right.Value.String
		}
		return long(e.Left) == long(e.Right)
	case image.Prefix:
		return strings.HasPrefix(text(e.Left), e.Right.Value.String)
	case image.Suffix:
		return strings.HasSuffix(text(e.Left), e.Right.Value.String)
	case image.In:
		if e.Set[0].IsString {
			return slices.ContainsFunc(e.Set, func(v image.Value) bool { return v.String == text(e.Left) })
		}
		return slices.ContainsFunc(e.Set, func(v image.Value) bool { return v.Long == long(e.Left) })
	}
	panic("operation of a random condition")
}

// pathName is the model's name of what an operand looks at.
func pathName(img *image.Image, o image.Operand) string {
	msg, name := uint32(0), ""
	for _, n := range o.Path {
		for _, f := range img.Messages[msg].Fields {
			if f.Number == n {
				name += "." + f.Name
				msg = f.Message
				break
			}
		}
	}
	if o.What == image.Count {
		name += "#"
	}
	return name
}

// What TestDecideDifferential runs.
const (
	decidePolicies = 150
	decideMessages = 60
)

func TestDecideDifferential(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 2026))
	img := allImage()
	img.Interfaces[0].Methods[0].ClientStream = true
	g := newGateTest(t, img, FabricConfig{Gates: 2, Programs: 4})
	g.mustSend(abi.Request, message(abi.Header{Kind: abi.KindCall, Gen: 1}, nil))
	run, err := g.gate.Runner(abi.Request)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	var outcomes [4]int
	var loads time.Duration
	for range decidePolicies {
		var d image.Decision
		for i := range 1 + r.IntN(5) {
			rule := image.Rule{Policy: uint32(i), When: randomExpr(r, 3)}
			if r.IntN(3) == 0 {
				d.Forbid = append(d.Forbid, rule)
			} else {
				d.Permit = append(d.Permit, rule)
			}
		}
		img.Routes[0].Methods[0].Request = d
		spec, err := filter.Build(img, 0, filter.Atoms{User: -1})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := g.route.Replace(spec); err != nil {
			t.Fatalf("%+v\n%v", err, spec.Programs[0].Decide)
		}
		loads += time.Since(start)
		for range decideMessages {
			body := randomMessage(r, img, 0, 0)
			m := &model{img: img, caps: map[string]any{}}
			if !m.message(0, body, 0, "") || len(body) > maxTestRun {
				continue
			}
			if _, ok := m.caps[".nested"]; !ok && slices.ContainsFunc(keys(m.caps), func(k string) bool { return strings.HasPrefix(k, ".nested.") }) {
				m.caps[".nested"] = true
			}
			want := abi.MakeVerdictWord(1, abi.ReasonDefault, abi.KindStreamItem, abi.NoPolicy)
			for _, rule := range slices.Backward(d.Permit) {
				if evaluate(&rule.When, m) {
					want = abi.MakeVerdictWord(1, abi.ReasonPermit, abi.KindStreamItem, rule.Policy)
				}
			}
			for _, rule := range slices.Backward(d.Forbid) {
				if evaluate(&rule.When, m) {
					want = abi.MakeVerdictWord(1, abi.ReasonForbid, abi.KindStreamItem, rule.Policy)
				}
			}
			if _, _, err := run.Run(message(abi.Header{Kind: abi.KindStreamItem, Gen: 1}, body), 1); err != nil {
				t.Fatal(err)
			}
			if got := g.verdict(abi.Request, 0); got != want {
				t.Fatalf("%x: verdict %x, the oracle says %x\n%+v\n%v", body, got, want, d, spec.Programs[0].Decide)
			}
			outcomes[want.Reason()]++
		}
	}
	t.Logf("%d policies: %d permits, %d forbids, %d defaults; a pair of programs loaded in %v", decidePolicies,
		outcomes[abi.ReasonPermit], outcomes[abi.ReasonForbid], outcomes[abi.ReasonDefault], loads/decidePolicies)
}

func keys(m map[string]any) []string {
	var k []string
	for s := range m {
		k = append(k, s)
	}
	return k
}
