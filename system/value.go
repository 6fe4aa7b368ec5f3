package system

import (
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"ward/diag"
	"ward/internal/yamltext"
)

// A value is a part of the file that fits its shape. Parts that do not fit
// are left out, after a finding.
type value struct {
	pos   diag.Pos
	shape *shape
	text  string
	num   uint64
	yes   bool
	list  []*value
	pairs []pair
	keys  []string // of a mapping: all that are written, also those with a finding
}

type pair struct {
	key   String
	value *value
}

// get returns the value of a key, or nil.
func (v *value) get(name string) *value {
	if v == nil {
		return nil
	}
	for _, p := range v.pairs {
		if p.key.Value == name {
			return p.value
		}
	}
	return nil
}

// has reports whether the key is written, even if its value was refused.
func (v *value) has(name string) bool { return slices.Contains(v.keys, name) }

// string returns the value of a text key, with its place; empty if absent.
func (v *value) string(name string) String {
	if w := v.get(name); w != nil {
		return String{w.text, w.pos}
	}
	return String{}
}

// strings returns the values of a list of text.
func (v *value) strings(name string) []String {
	if w := v.get(name); w != nil {
		return w.texts()
	}
	return nil
}

func (v *value) number(name string) uint64 {
	if w := v.get(name); w != nil {
		return w.num
	}
	return 0
}

// checker fits syntax trees to shapes.
type checker struct {
	yamltext.Source
	out *diag.List
}

// fit checks n against s. at is the place of the key, for nodes that have
// none of their own. It returns nil after a finding.
func (c *checker) fit(n ast.Node, s *shape, what string, at diag.Pos) *value {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode, *ast.SequenceNode, *ast.NullNode:
	default:
		at = c.At(n.GetToken())
	}
	v := &value{pos: at, shape: s}
	ok := false
	switch s.kind {
	case text:
		ok = c.text(n, s, what, v)
	case integer, bytes:
		ok = c.number(n, s, what, v)
	case boolean:
		v.yes, ok = boolOf(n)
		if !ok {
			c.mismatch(n, s, what, at)
		}
	case list:
		ok = c.list(n, s, what, v)
	case table, object:
		ok = c.mapping(n, s, what, v)
	case either:
		for _, e := range s.either {
			if fits(n, e.kind) {
				return c.fit(n, e, what, at)
			}
		}
		c.mismatch(n, s, what, at)
	case later:
		c.out.Errorf(at, "leave it out", "%s is not supported by this version yet", what)
	}
	if !ok {
		return nil
	}
	return v
}

// fits reports whether the node is of the sort that the kind needs: it picks
// the alternative whose findings help.
func fits(n ast.Node, k kind) bool {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return k == object || k == table
	case *ast.SequenceNode:
		return k == list
	case *ast.NullNode:
		return false
	case *ast.StringNode:
		return k == text || k == bytes || k == boolean
	}
	return k != object && k != table && k != list
}

func boolOf(n ast.Node) (bool, bool) {
	b, ok := n.(*ast.BoolNode)
	return ok && b.Value, ok
}

func (c *checker) mismatch(n ast.Node, s *shape, what string, at diag.Pos) {
	_, raw, is := yamltext.Scalar(n)
	fix := ""
	if s.kind == text && raw != "" {
		fix = "put it in quotes: " + strconv.Quote(raw)
	}
	if key, value, ok := strings.Cut(raw, ":"); ok && (s.kind == table || s.kind == object) && value != "" {
		fix = "put a space after the colon: " + short(key) + ": " + short(value)
	}
	c.out.Errorf(at, fix, "%s is %s, not %s", what, is, s.wants())
}

func (c *checker) text(n ast.Node, s *shape, what string, v *value) bool {
	x, _, _ := yamltext.Scalar(n)
	t, ok := x.(string)
	if !ok {
		c.mismatch(n, s, what, v.pos)
		return false
	}
	v.text = t
	if len(s.enum) > 0 {
		if slices.Contains(s.enum, t) {
			return true
		}
		if slices.Contains(s.later, t) {
			c.out.Errorf(v.pos, "write "+strings.Join(s.enum, " or ")+", or leave it out", "%s: %q is not supported by this version yet", what, t)
			return false
		}
		c.out.Errorf(v.pos, diag.Suggest(t, s.enum), "%s is %q; it may be %s", what, short(t), strings.Join(s.enum, ", "))
		return false
	}
	if len(t) > maxText {
		c.out.Errorf(v.pos, "", "%s has %d bytes; the limit is %d", what, len(t), maxText)
		return false
	}
	if !s.matches(t) {
		c.out.Errorf(v.pos, "write "+s.hint, "%s is %q", what, short(t))
		return false
	}
	return true
}

// maxText is the longest text of one value, in bytes (a path: PATH_MAX).
const maxText = 4096

// short returns t, cut for a message.
func short(t string) string {
	if r := []rune(t[:min(len(t), 400)]); len(r) > 80 {
		return string(r[:80]) + "…"
	}
	return t
}

func (c *checker) number(n ast.Node, s *shape, what string, v *value) bool {
	x, _, _ := yamltext.Scalar(n)
	switch x := x.(type) {
	case uint64:
		v.num = x
	case int64:
		if x < 0 {
			c.out.Errorf(v.pos, "", "%s is %d; it may be %d to %d", what, x, s.least, s.most)
			return false
		}
		v.num = uint64(x)
	case string:
		n, ok := parseBytes(x)
		if s.kind != bytes || !ok {
			c.out.Errorf(v.pos, "", "%s is %q, not %s", what, short(x), s.wants())
			return false
		}
		v.num = n
	default:
		c.mismatch(n, s, what, v.pos)
		return false
	}
	if v.num < s.least || v.num > s.most {
		c.out.Errorf(v.pos, "", "%s is %d; it may be %d to %d", what, v.num, s.least, s.most)
		return false
	}
	return true
}

// bytesPattern is what parseBytes accepts, for the schema.
const bytesPattern = `^[0-9]{1,15}(KiB|MiB|GiB|TiB)?$`

// parseBytes reads a number with an optional binary unit.
func parseBytes(t string) (uint64, bool) {
	shift := 0
	for i, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if rest, ok := strings.CutSuffix(t, unit); ok {
			t, shift = rest, 10*(i+1)
			break
		}
	}
	if len(t) == 0 || len(t) > 15 || strings.Trim(t, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseUint(t, 10, 64)
	if err != nil || n<<shift>>shift != n {
		return 0, false
	}
	return n << shift, true
}

func (c *checker) list(n ast.Node, s *shape, what string, v *value) bool {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		fix := ""
		if _, raw, _ := yamltext.Scalar(n); raw != "" && s.elem.kind == text {
			fix = "write [" + raw + "]"
		}
		c.out.Errorf(v.pos, fix, "%s is %s, not a list", what, third(yamltext.Scalar(n)))
		return false
	}
	if uint64(len(seq.Values)) > s.most {
		c.out.Errorf(v.pos, "", "%s has %d entries; the limit is %d", what, len(seq.Values), s.most)
		return false
	}
	for _, e := range seq.Values {
		if w := c.fit(e, s.elem, "an entry of "+what, c.start(e)); w != nil {
			v.list = append(v.list, w)
		}
	}
	return true
}

// start returns the place where an entry of a list starts.
func (c *checker) start(n ast.Node) diag.Pos {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		return c.At(m.Values[0].Key.GetToken())
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		return c.At(m.Key.GetToken())
	}
	return c.At(n.GetToken())
}

func third(_ any, _, is string) string { return is }

func (c *checker) mapping(n ast.Node, s *shape, what string, v *value) bool {
	nodes, ok := yamltext.Entries(n)
	if !ok {
		c.mismatch(n, s, what, v.pos)
		return false
	}
	if s.kind == table && uint64(len(nodes)) > s.most {
		c.out.Errorf(v.pos, "", "%s has %d entries; the limit is %d", what, len(nodes), s.most)
		return false
	}
	seen := map[string]diag.Pos{}
	for _, e := range nodes {
		at := c.At(e.Key.GetToken())
		name := String{yamltext.KeyText(e.Key), at}
		if first, twice := seen[name.Value]; twice {
			c.out.Errorf(at, "", "%s: %q is there twice, first on line %d", what, short(name.Value), first.Line)
			continue
		}
		seen[name.Value] = at
		v.keys = append(v.keys, name.Value)
		elem, inner, ok := c.entry(s, name, what)
		if !ok {
			continue
		}
		if w := c.fit(e.Value, elem, inner, at); w != nil {
			v.pairs = append(v.pairs, pair{name, w})
		}
	}
	for _, k := range s.keys {
		if _, ok := seen[k.name]; k.required && !ok {
			fix := ""
			if k.name == "ward" {
				fix = "begin it with `ward: 1`, the version of this format"
			}
			c.out.Errorf(v.pos, fix, "%s has no %q", what, k.name)
		}
	}
	return true
}

// entry finds the shape of one entry of a mapping, and the words for it.
func (c *checker) entry(s *shape, name String, what string) (*shape, string, bool) {
	if s.kind == table {
		if !c.text(&ast.StringNode{Value: name.Value}, s.key, "a key of "+what, &value{pos: name.Pos}) {
			return nil, "", false
		}
		return s.elem, what + "." + name.Value, true
	}
	k := s.find(name.Value)
	if k == nil {
		fix := diag.Suggest(name.Value, s.names())
		if fix == "" {
			fix = "the keys are " + strings.Join(s.names(), ", ")
		}
		c.out.Errorf(name.Pos, fix, "%s: unknown key %q", what, short(name.Value))
		return nil, "", false
	}
	if s == fileShape {
		return k.shape, name.Value, true
	}
	return k.shape, what + "." + name.Value, true
}
