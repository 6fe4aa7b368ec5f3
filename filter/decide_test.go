package filter

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"ward/image"
)

var update = flag.Bool("update", false, "write the golden files")

func param(path ...uint32) image.Operand { return image.Operand{What: image.Scalar, Path: path} }

func longConst(v int64) image.Operand { return image.Operand{Value: image.Value{Long: v}} }

func textConst(s string) image.Operand {
	return image.Operand{Value: image.Value{IsString: true, String: s}}
}

func permit(e image.Expr) image.Decision {
	return image.Decision{Permit: []image.Rule{{Policy: 7, When: e}}}
}

// smallImage has one method with the request {1: width uint32, 2: site string}.
func smallImage(d image.Decision) *image.Image {
	return &image.Image{
		Interfaces: []image.Interface{{Name: "t.v1.T", Methods: []image.Method{{Name: "M", Request: 0, Reply: 1}}}},
		Messages: []image.Message{
			{Name: "t.v1.Q", Fields: []image.Field{
				{Number: 1, Name: "width", Type: image.Uint32, HasRange: true, Max: 1 << 20},
				{Number: 2, Name: "site", Type: image.String, MaxLen: 64, In: []string{"api", "www"}},
			}},
			{Name: "t.v1.R"},
		},
		Domains: make([]image.Domain, 2),
		Routes:  []image.Route{{Client: 0, Server: 1, Methods: []image.MethodPolicy{{Request: d}}}},
	}
}

var goldenDecisions = map[string]image.Decision{
	"default": {},
	"always":  permit(image.Expr{Op: image.True}),
	"bound":   permit(image.Expr{Op: image.LessEq, Left: param(1), Right: longConst(1024)}),
	"forbid": {Forbid: []image.Rule{{Policy: 3, Audit: true, When: image.Expr{Op: image.Eq, Left: param(2), Right: textConst("api")}}},
		Permit: []image.Rule{{Policy: 4, When: image.Expr{Op: image.True}}}},
	"set": permit(image.Expr{Op: image.In, Left: param(1), Set: []image.Value{{Long: 1}, {Long: 2}, {Long: 3}, {Long: 10}, {Long: 1 << 40}}}),
	"texts": permit(image.Expr{Op: image.In, Left: param(2), Set: []image.Value{
		{IsString: true, String: ""}, {IsString: true, String: "api"}, {IsString: true, String: "www"}, {IsString: true, String: "long-name-1"}, {IsString: true, String: "long-name-2"}}}),
	"user": {Permit: []image.Rule{{Policy: 1, When: image.Expr{Op: image.And, Args: []image.Expr{{Op: image.User, Atom: 2}, {Op: image.Prefix, Left: param(2), Right: textConst("w")}}}}}},
}

func TestDecideGolden(t *testing.T) {
	for name, d := range goldenDecisions {
		t.Run(name, func(t *testing.T) {
			spec, err := Build(smallImage(d), 0, Atoms{User: 2})
			if err != nil {
				t.Fatal(err)
			}
			p := &spec.Programs[0]
			got := fmt.Sprintf("decide, %d instructions:\n%vcheck, %d instructions:\n%v", len(p.Decide), p.Decide, len(p.Check), p.Check)
			file := filepath.Join("testdata", "decide", name+".txt")
			if *update {
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func TestBuildIsDeterministic(t *testing.T) {
	for name, d := range goldenDecisions {
		a, err := Build(smallImage(d), 0, Atoms{User: -1})
		if err != nil {
			t.Fatal(err)
		}
		b, err := Build(smallImage(d), 0, Atoms{User: -1})
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s: two builds differ", name)
		}
	}
}

// The program of a route holds its own policy only: what else the system says
// costs nothing.
func TestOtherPoliciesCostNothing(t *testing.T) {
	size := func(routes int) int {
		img := smallImage(goldenDecisions["forbid"])
		for i := range routes {
			img.Routes = append(img.Routes, image.Route{Client: 1, Server: 0, Methods: []image.MethodPolicy{{Request: permit(image.Expr{Op: image.Less, Left: param(1), Right: longConst(int64(i))})}}})
			img.Policies = append(img.Policies, image.Policy{ID: fmt.Sprint(i)})
		}
		spec, err := Build(img, 0, Atoms{User: -1})
		if err != nil {
			t.Fatal(err)
		}
		return len(spec.Programs[0].Decide)
	}
	if a, b := size(10), size(10000); a != b {
		t.Errorf("%d instructions among 10 policies, %d among 10,000", a, b)
	}
}

func TestLimitsAreErrors(t *testing.T) {
	wide := smallImage(image.Decision{})
	for i := range 65 {
		wide.Messages[1].Fields = append(wide.Messages[1].Fields, image.Field{Number: uint32(i + 1), Name: fmt.Sprint("f", i), Type: image.Bool})
	}
	deep := smallImage(image.Decision{})
	for i := range 9 {
		m := &deep.Messages[len(deep.Messages)-1]
		m.Fields = []image.Field{{Number: 1, Name: "down", Type: image.Nested, Card: image.Optional, Message: uint32(len(deep.Messages))}}
		deep.Messages = append(deep.Messages, image.Message{Name: fmt.Sprint("t.v1.D", i)})
	}
	many := smallImage(image.Decision{})
	var looks []image.Expr
	for i := range 17 {
		many.Messages[0].Fields = append(many.Messages[0].Fields, image.Field{Number: uint32(i + 3), Name: fmt.Sprint("f", i), Type: image.Bool})
		looks = append(looks, image.Expr{Op: image.Eq, Left: param(uint32(i + 3)), Right: longConst(1)})
	}
	many.Routes[0].Methods[0].Request = permit(image.Expr{Op: image.Or, Args: looks})
	unbounded := smallImage(permit(image.Expr{Op: image.Less, Left: param(1), Right: longConst(1)}))
	unbounded.Messages[0].Fields[0] = image.Field{Number: 1, Name: "n", Type: image.Uint64, HasRange: true, Max: 1 << 63}
	for want, img := range map[string]*image.Image{
		"t.v1.R has 65 fields, the limit is 64":       wide,
		"is nested more than 8 deep":                  deep,
		"look at 17 parameters, the limit is 16":      many,
		"t.v1.Q.n: a condition looks at it, but it m": unbounded,
	} {
		if _, err := Build(img, 0, Atoms{User: -1}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %q, want %q in it", err, want)
		}
	}
}
