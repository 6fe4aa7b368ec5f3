package eval_test

import (
	"testing"

	"ward/abi"
	"ward/image"
	"ward/policy/eval"
)

// anyArgs are those of a message without parameters.
type anyArgs struct{}

func (anyArgs) Has([]uint32) bool               { return false }
func (anyArgs) Long([]uint32, image.What) int64 { return 0 }
func (anyArgs) Text([]uint32) string            { return "" }

func TestJudgeChain(t *testing.T) {
	yes, no := image.Expr{Op: image.True}, image.Expr{Op: image.False}
	rule := func(policy uint32, when image.Expr) image.Rule { return image.Rule{Policy: policy, When: when} }
	open := image.Decision{Permit: []image.Rule{rule(0, yes)}}
	limited := image.Decision{Permit: []image.Rule{{Policy: 1, When: yes, Audit: true, Rate: image.Rate{Every: 1, Burst: 1}}}}
	forbids := image.Decision{Forbid: []image.Rule{rule(2, yes)}, Permit: []image.Rule{rule(3, yes)}}
	misses := image.Decision{Permit: []image.Rule{rule(4, no)}}
	for name, c := range map[string]struct {
		levels  []image.Decision
		reason  abi.Reason
		policy  uint32
		effects int
		audit   bool
	}{
		"one":                          {[]image.Decision{open}, abi.ReasonPermit, 0, 0, false},
		"all admit":                    {[]image.Decision{open, limited, limited}, abi.ReasonPermit, 0, 2, true},
		"the parent forbids":           {[]image.Decision{open, forbids}, abi.ReasonForbid, 2, 0, true},
		"the child forbids":            {[]image.Decision{forbids, limited}, abi.ReasonForbid, 2, 0, true},
		"the root's denial is the one": {[]image.Decision{forbids, open, misses}, abi.ReasonDefault, abi.NoPolicy, 0, true},
		"no permit matches":            {[]image.Decision{misses, open}, abi.ReasonDefault, abi.NoPolicy, 0, true},
		"no permit at all":             {[]image.Decision{open, {}}, abi.ReasonDefault, abi.NoPolicy, 0, true},
	} {
		o := eval.JudgeChain(c.levels, anyArgs{}, eval.Client{}, nil)
		if o.Reason != c.reason || o.Verdict.Policy != c.policy || o.Verdict.Allow != (c.reason == abi.ReasonPermit) || len(o.Effects) != c.effects || o.Audit != c.audit {
			t.Errorf("%s: %+v", name, o)
		}
	}
}
