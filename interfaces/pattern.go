package interfaces

import (
	"math"
	"regexp/syntax"
)

// A pattern is what a regular expression says that a kernel can check in one
// pass: which characters there are, and how many.
type pattern struct {
	class    [2]uint64 // ASCII characters, bit c of the pair
	min, max uint32    // characters; max is math.MaxUint32 for any number
	exact    bool      // class and lengths say all that the expression says
}

// maxPattern is the longest regular expression that is looked at, in bytes.
const maxPattern = 1024

// parsePattern reads a regular expression (RE2, as protovalidate's CEL uses
// it). It succeeds for expressions that are anchored at both ends and whose
// parts are ASCII characters and classes, with or without a repetition. If
// there is more than one part, class and lengths are what all of them have in
// common: necessary, but not all that the expression says.
func parsePattern(expr string) (pattern, bool) {
	if len(expr) > maxPattern {
		return pattern{}, false
	}
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil || re.Op != syntax.OpConcat || len(re.Sub) < 2 ||
		re.Sub[0].Op != syntax.OpBeginText || re.Sub[len(re.Sub)-1].Op != syntax.OpEndText {
		return pattern{}, false
	}
	parts := re.Sub[1 : len(re.Sub)-1]
	p := pattern{exact: len(parts) == 1}
	for _, sub := range parts {
		q, ok := part(sub)
		if !ok {
			return pattern{}, false
		}
		p.class[0] |= q.class[0]
		p.class[1] |= q.class[1]
		p.min, p.max = addLength(p.min, q.min), addLength(p.max, q.max)
		p.exact = p.exact && q.exact
	}
	return p, p.class != [2]uint64{}
}

// addLength adds lengths; math.MaxUint32 is any number and stays it.
func addLength(a, b uint32) uint32 {
	if a > math.MaxUint32-b {
		return math.MaxUint32
	}
	return a + b
}

func mulLength(a uint32, n int) uint32 {
	if n < 0 || uint64(a)*uint64(n) >= math.MaxUint32 {
		return math.MaxUint32
	}
	return a * uint32(n)
}

// part reads one part of an expression.
func part(re *syntax.Regexp) (pattern, bool) {
	low, high := 1, 1
	switch re.Op {
	case syntax.OpStar:
		low, high = 0, -1
	case syntax.OpPlus:
		high = -1
	case syntax.OpQuest:
		low = 0
	case syntax.OpRepeat:
		low, high = re.Min, re.Max
	case syntax.OpCapture:
		return part(re.Sub[0])
	case syntax.OpConcat:
		return sequence(re.Sub)
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase != 0 {
			return pattern{}, false // folds to letters beyond ASCII, too
		}
		p := pattern{min: uint32(len(re.Rune)), max: uint32(len(re.Rune)), exact: len(re.Rune) == 1}
		for _, r := range re.Rune {
			if r > 127 {
				return pattern{}, false
			}
			p.class[r>>6] |= 1 << (r & 63)
		}
		return p, true
	case syntax.OpCharClass:
		p := pattern{min: 1, max: 1, exact: true}
		for i := 0; i < len(re.Rune); i += 2 {
			for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
				if r > 127 {
					return pattern{}, false
				}
				p.class[r>>6] |= 1 << (r & 63)
			}
		}
		return p, len(re.Rune) > 0
	default:
		return pattern{}, false
	}
	p, ok := part(re.Sub[0])
	if !ok {
		return pattern{}, false
	}
	// A repetition of more than one character, or of a repetition, says more
	// than the lengths do: (ab)* has no "ba", (a{2})* no three.
	p.exact = p.exact && p.min == 1 && p.max == 1
	p.min, p.max = mulLength(p.min, low), mulLength(p.max, high)
	return p, true
}

// sequence reads parts after each other.
func sequence(parts []*syntax.Regexp) (pattern, bool) {
	p := pattern{}
	for _, sub := range parts {
		q, ok := part(sub)
		if !ok {
			return pattern{}, false
		}
		p.class[0] |= q.class[0]
		p.class[1] |= q.class[1]
		p.min, p.max = addLength(p.min, q.min), addLength(p.max, q.max)
	}
	return p, true
}
