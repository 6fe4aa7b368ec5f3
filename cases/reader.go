package cases

import (
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"ward/abi"
	"ward/diag"
	"ward/image"
	"ward/internal/yamltext"
)

// reader turns the tree of one file into tests.
type reader struct {
	*world
	src   yamltext.Source
	out   *diag.List
	names map[string]diag.Pos // of tests, in all files
}

// A value is a node with its place and the words for it.
type value struct {
	node ast.Node
	pos  diag.Pos
	what string
}

// fields are the entries of a mapping with known keys.
type fields map[string]value

// later are keys that the format has, but this version does not.
var later = []string{"run"}

func (r *reader) place(n ast.Node, at diag.Pos) diag.Pos {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return r.src.At(n.Values[0].Key.GetToken())
		}
		return at
	case *ast.MappingValueNode:
		return r.src.At(n.Key.GetToken())
	case *ast.SequenceNode, *ast.NullNode:
		return at
	}
	return r.src.At(n.GetToken())
}

// mapping reads a mapping; visit is called for each key, in order, once.
func (r *reader) mapping(v value, visit func(key string, e value)) bool {
	entries, ok := yamltext.Entries(v.node)
	if !ok {
		r.mismatch(v, "a mapping (key: value)")
		return false
	}
	seen := map[string]bool{}
	for _, e := range entries {
		key, at := yamltext.KeyText(e.Key), r.src.At(e.Key.GetToken())
		if seen[key] {
			r.out.Errorf(at, "", "%s: %q is there twice", v.what, short(key))
			continue
		}
		seen[key] = true
		visit(key, value{e.Value, r.place(e.Value, at), v.what + "." + short(key)})
	}
	return true
}

// object reads a mapping with known keys.
func (r *reader) object(v value, known ...string) (fields, bool) {
	f := fields{}
	ok := r.mapping(v, func(key string, e value) {
		switch {
		case slices.Contains(known, key):
			f[key] = e
		case slices.Contains(later, key):
			r.out.Errorf(e.pos, "leave it out", "%s: %q is not supported by this version yet", v.what, key)
		default:
			fix := diag.Suggest(key, known)
			if fix == "" {
				fix = "the keys are " + strings.Join(known, ", ")
			}
			r.out.Errorf(e.pos, fix, "%s: unknown key %q", v.what, short(key))
		}
	})
	return f, ok
}

func (r *reader) list(v value) ([]value, bool) {
	seq, ok := v.node.(*ast.SequenceNode)
	if !ok {
		r.mismatch(v, "a list")
		return nil, false
	}
	var res []value
	for _, n := range seq.Values {
		at := v.pos
		if t := n.GetToken(); t != nil {
			at = r.src.At(t)
		}
		res = append(res, value{n, r.place(n, at), "an entry of " + v.what})
	}
	return res, true
}

// texts reads a text or a list of texts.
func (r *reader) texts(v value) []value {
	if _, ok := v.node.(*ast.SequenceNode); !ok {
		return []value{v}
	}
	list, _ := r.list(v)
	return list
}

func (r *reader) text(v value) (string, bool) {
	x, raw, _ := yamltext.Scalar(v.node)
	t, ok := x.(string)
	if !ok {
		fix := ""
		if raw != "" {
			fix = "put it in quotes"
		}
		_, _, is := yamltext.Scalar(v.node)
		r.out.Errorf(v.pos, fix, "%s is %s, not text", v.what, is)
	}
	return t, ok
}

func (r *reader) mismatch(v value, want string) {
	_, _, is := yamltext.Scalar(v.node)
	r.out.Errorf(v.pos, "", "%s is %s, not %s", v.what, is, want)
}

// short returns t, cut for a message.
func short(t string) string {
	if c := []rune(t[:min(len(t), 400)]); len(c) > 80 {
		return string(c[:80]) + "…"
	}
	return t
}

func (r *reader) file(root ast.Node) []*test {
	v := value{root, diag.Pos{File: r.src.File, Line: 1, Column: 1}, "the file"}
	f, ok := r.object(v, "ward", "cases", "always")
	if !ok {
		return nil
	}
	switch version, ok := f["ward"]; {
	case !ok:
		r.out.Errorf(v.pos, "start with `ward: 1`", `the file has no "ward"`)
	default:
		if x, _, is := yamltext.Scalar(version.node); x != uint64(1) {
			r.out.Errorf(version.pos, "write `ward: 1`", "the version of the format is %s", is)
		}
	}
	var tests []*test
	for _, part := range []string{"cases", "always"} {
		p, ok := f[part]
		if !ok {
			continue
		}
		p.what = part
		list, _ := r.list(p)
		for _, e := range list {
			if len(tests) == maxTests {
				r.out.Errorf(e.pos, "write another file", "more than %d tests", maxTests)
				return tests
			}
			read := r.oneCase
			if part == "always" {
				read = r.always
			}
			before := len(*r.out)
			t := read(e)
			if t != nil {
				tests = append(tests, t)
			}
			// A test that lost a part must not pass for want of it.
			if len(*r.out) == before && (t == nil || t.rule == nil && len(t.steps) == 0) {
				r.out.Errorf(e.pos, "compare it with docs/testing.md", "this test is not complete")
			}
		}
	}
	return tests
}

var stepKeys = append([]string{"from", "to", "groups", "args", "allow", "deny", "after", "state"}, verbs...)

func (r *reader) oneCase(v value) *test {
	v.what = "a case"
	f, ok := r.object(v, append([]string{"name", "steps"}, stepKeys...)...)
	if !ok {
		return nil
	}
	t := &test{pos: v.pos}
	name, ok := f["name"]
	if !ok {
		r.out.Errorf(v.pos, "say what it is about", `a case has no "name"`)
		return nil
	}
	if t.name, ok = r.text(name); !ok || !r.unique(t.name, name.pos) {
		return nil
	}
	steps, sequence := f["steps"]
	if !sequence {
		if s := r.step(v, f); s != nil {
			t.steps = append(t.steps, s)
		}
		return t
	}
	for _, key := range stepKeys {
		if e, ok := f[key]; ok && key != "from" && key != "state" {
			r.out.Errorf(e.pos, "move it into a step", "a case with steps has %q, too", key)
		}
	}
	list, _ := r.list(steps)
	if len(list) == 0 {
		r.out.Errorf(steps.pos, "", "steps is empty")
	}
	for _, e := range list {
		e.what = "a step"
		g, ok := r.object(e, stepKeys...)
		if !ok {
			continue
		}
		if from, ok := f["from"]; ok {
			if _, own := g["from"]; !own {
				g["from"] = from
			}
		}
		if state, ok := f["state"]; ok && len(t.steps) == 0 {
			if _, own := g["state"]; own {
				r.out.Errorf(g["state"].pos, "keep one of them", "the case and its first step both have state")
			}
			g["state"] = state
		}
		before := len(*r.out)
		s := r.step(e, g)
		if s == nil && len(*r.out) == before {
			return nil
		}
		t.steps = append(t.steps, s)
	}
	return t
}

func (r *reader) unique(name string, at diag.Pos) bool {
	first, twice := r.names[name]
	switch {
	case name == "" || len(name) > 255 || strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f }):
		r.out.Errorf(at, "write one line of at most 255 bytes", "the name of a case is %q", short(name))
		return false
	case twice:
		r.out.Errorf(at, "names are unique, so that --run finds one", "the name %q is there twice, first at %s", short(name), first)
		return false
	}
	r.names[name] = at
	return true
}

var userPattern = regexp.MustCompile(`^[^:/\s*]{1,256}$`)

// subject reads a domain or user:NAME; any allows user:* too.
func (r *reader) subject(v value, any bool) (subject, bool) {
	name, ok := r.text(v)
	if !ok {
		return subject{}, false
	}
	if user, ok := strings.CutPrefix(name, "user:"); ok {
		if !userPattern.MatchString(user) && !(any && user == "*") {
			r.out.Errorf(v.pos, "write user:NAME", "%s: %q is not a user's name", v.what, short(user))
			return subject{}, false
		}
		return subject{domain: abi.NoDomain, user: user}, true
	}
	i := slices.IndexFunc(r.img.Domains, func(d image.Domain) bool { return d.Name == name })
	if i < 0 {
		r.out.Errorf(v.pos, diag.Suggest(name, r.domainNames()), "%s: there is no domain %q", v.what, short(name))
		return subject{}, false
	}
	return subject{domain: abi.DomainID(i)}, true
}

// method reads pkg.Service/Method.
func (r *reader) method(v value) (method, bool) {
	name, ok := r.text(v)
	if !ok {
		return method{}, false
	}
	if m, ok := r.methodNamed(name); ok {
		return m, true
	}
	fix := diag.Suggest(name, r.methodNames())
	if fix == "" {
		fix = "write pkg.Service/Method"
	}
	r.out.Errorf(v.pos, fix, "%s: there is no method %q", v.what, short(name))
	return method{}, false
}

// expectation reads allow or deny.
func (r *reader) expectation(v value, f fields) (expectation, bool) {
	allow, isAllow := f["allow"]
	deny, isDeny := f["deny"]
	if isAllow == isDeny {
		r.out.Errorf(v.pos, "write `allow: ID of a permit`, or `deny: default`, `bounds`, `signature`, `state`, `rate` or the ID of a forbid", "%s has to have one of allow and deny", v.what)
		return expectation{}, false
	}
	e := deny
	if isAllow {
		e = allow
	}
	id, ok := r.text(e)
	if !ok {
		return expectation{}, false
	}
	if isDeny {
		switch id {
		case "default":
			return expectation{kind: byDefault}, true
		case "bounds":
			return expectation{kind: byBounds}, true
		case "signature":
			return expectation{kind: bySignature}, true
		case "rate":
			return expectation{kind: byRate}, true
		case "state":
			return expectation{kind: byState}, true
		}
	}
	var known []string
	for i, p := range r.img.Policies {
		switch {
		case p.ID != id:
			if p.Forbid == isDeny {
				known = append(known, p.ID)
			}
		case p.Forbid == isDeny:
			return expectation{kind: byPolicy, policy: uint32(i), allow: isAllow}, true
		default:
			r.out.Errorf(e.pos, "", "%q is a %s (%s): it does not %s", id, effect(p.Forbid), p.Source, map[bool]string{true: "allow", false: "deny"}[isAllow])
			return expectation{}, false
		}
	}
	if isDeny {
		known = append(known, "default", "bounds", "signature", "state", "rate")
	}
	r.out.Errorf(e.pos, diag.Suggest(id, known), "there is no %s with the ID %q", effect(isDeny), short(id))
	return expectation{}, false
}

func effect(forbid bool) string {
	if forbid {
		return "forbid"
	}
	return "permit"
}
