package policy

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ward/diag"
	"ward/image"
	"ward/policy/eval"
	"ward/policy/internal/cedar"
	"ward/policy/internal/syntax"
)

// A corpusCase is a case of Cedar's own corpus: a policy, entities, requests
// and what Cedar decides on them.
type corpusCase struct {
	Requests []corpusRequest `json:"requests"`
	policy   string
	entities cedar.Entities
}

type corpusRequest struct {
	Principal, Action, Resource cedar.UID
	Context                     cedar.Record
	Decision                    string
	Reason, Errors              []string
}

// readCorpus reads the cases from the archive in the module cedar-go, which
// need not be there.
func readCorpus(t *testing.T) map[string]*corpusCase {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/cedar-policy/cedar-go").Output()
	if err != nil || strings.TrimSpace(string(dir)) == "" {
		t.Skip("needs the source of the module cedar-go, which holds Cedar's corpus: go mod download")
	}
	f, err := os.Open(filepath.Join(strings.TrimSpace(string(dir)), "corpus-tests.tar.gz"))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("needs corpus-tests.tar.gz of the module cedar-go, which this version of it has not")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]*corpusCase{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return cases
		}
		if err != nil {
			t.Fatal(err)
		}
		name, kind, _ := strings.Cut(path.Base(h.Name), ".")
		if h.Typeflag != tar.TypeReg || kind == "cedarschema" || strings.HasPrefix(name, "schema_") {
			continue
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		c := cases[name]
		if c == nil {
			c = &corpusCase{}
			cases[name] = c
		}
		switch kind {
		case "cedar":
			c.policy = string(text)
		case "entities.json":
			err = json.Unmarshal(text, &c.entities)
		case "json":
			err = json.Unmarshal(text, c)
		}
		if err != nil {
			t.Fatalf("%s: %v", h.Name, err)
		}
	}
}

// A corpusRun compiles a case's policy for each request. The scope, the
// folding and what is left after it are the compiler's; what the corpus has no
// equal of stands in for the world: any entity type and ID that the case names
// is declared, and the types are not checked, since no schema is Ward's.
type corpusRun struct {
	*corpusCase
	s        *source
	findings diag.List
	// attributes: scalars and sets that the policy reads from entities become
	// parameters of a message, so that they are compiled to the image's form.
	attributes bool
}

// world declares what the case names.
func (r *corpusRun) world(q *corpusRequest) *compiler {
	w := &world{findings: &r.findings, entities: r.entities, ids: map[string][]string{}, attrs: map[string]*typ{}}
	declare := func(u cedar.UID) {
		w.ids[string(u.Type)] = append(w.ids[string(u.Type)], string(u.ID))
		w.attrs[string(u.Type)] = recordType(string(u.Type))
	}
	for u := range r.entities {
		declare(u)
	}
	for _, u := range []cedar.UID{q.Principal, q.Action, q.Resource} {
		declare(u)
	}
	for _, sc := range []syntax.Scope{r.s.Principal, r.s.Resource} {
		for _, u := range sc.UIDs {
			declare(cedar.NewUID(u.Type, u.ID))
		}
		if sc.Type != "" {
			w.attrs[sc.Type] = recordType(sc.Type)
		}
	}
	c := &compiler{world: w, img: &image.Image{}}
	c.findMembers()
	return c
}

// decide gives the verdict of the compiled policy on a request: does it match?
// refused says why the compiler does not take it.
func (r *corpusRun) decide(q *corpusRequest) (matches bool, refused string) {
	r.findings = nil
	r.s.broken = false
	c := r.world(q)
	principal, resource := c.subject(r.s, r.s.Principal), c.subject(r.s, r.s.Resource)
	if r.s.broken {
		return false, "scope: " + reason(r.findings)
	}
	acts := r.s.Action.Kind == syntax.All
	for _, u := range r.s.Action.UIDs {
		acts = acts || c.below(cedar.NewUID(u.Type, u.ID), r.s.Action.Kind == syntax.Equal)[q.Action]
	}
	if !acts || !principal.matches(q.Principal) || !resource.matches(q.Resource) {
		return false, ""
	}
	m := &parameters{env: cedar.Env{Entities: r.entities, Principal: q.Principal, Action: q.Action, Resource: q.Resource, Context: q.Context}}
	m.ctx = recordType("request")
	s := *r.s
	if r.attributes {
		s.Policy = m.policy(r.s.Policy)
	}
	f := &folder{compiler: c, t: tuple{principal: theSystem, resource: theSystem, action: &action{kind: callAction, ctx: m.ctx}}, dynamic: r.attributes, env: m.env}
	e := c.foldConditions(&s, f)
	if s.broken {
		return false, reason(r.findings)
	}
	if bad := m.unlawful(&e); bad != "" {
		return false, bad
	}
	return eval.Holds(&e, m, eval.Client{}), ""
}

// corpusSource reads the policy of a case as the compiler does, but for its
// annotations: Ward has some, and refuses others.
func corpusSource(name, text string, findings *diag.List) *source {
	all := syntax.Parse(name, text, findings)
	if findings.Failed() {
		return nil
	}
	if len(all) != 1 {
		findings.Errorf(diag.Pos{}, "", "%d policies in one case", len(all))
		return nil
	}
	s := &source{Policy: all[0], id: "policy0", residuals: map[residualKey]image.Expr{}}
	var err error
	if s.cedar, err = cedar.Read(all[0]); err != nil {
		findings.Errorf(diag.Pos{}, "", "policy is not Cedar: %v", err)
		return nil
	}
	s.findUses()
	return s
}

// reason is what a finding says, without what differs from case to case.
func reason(l diag.List) string {
	if len(l) == 0 {
		return "refused"
	}
	msg := l[0].Message
	if strings.HasPrefix(msg, "this fails when it is evaluated: ") {
		// Which of several errors comes first is not determined: cedar-go evaluates records in the order of a map.
		return "fails when it is evaluated: overflow, malformed constant, no such attribute or entity, wrong types or arguments"
	}
	if i := strings.IndexAny(msg, "0123456789\"`"); i > 0 {
		msg = msg[:i]
	}
	return strings.TrimSpace(msg)
}

// parameters are the attributes of entities that became those of a message.
type parameters struct {
	env    cedar.Env
	ctx    *typ
	values []cedar.Value // by field number, from 1
}

// policy replaces reads of attributes by reads of parameters.
func (m *parameters) policy(p *syntax.Policy) *syntax.Policy {
	res := *p
	res.Conditions = slices.Clone(p.Conditions)
	for i := range res.Conditions {
		res.Conditions[i].Body = m.replace(p.Conditions[i].Body)
		res.Conditions[i].Body.FindUses()
	}
	return &res
}

func (m *parameters) replace(e *syntax.Expr) *syntax.Expr {
	if e.Op == syntax.Access {
		if v, err := cedar.Eval(e, m.env); err == nil {
			if t, list := typeOfValue(v); t != nil {
				return m.parameter(v, t, list, e)
			}
		}
		return e
	}
	res := *e
	res.Args = nil
	for _, a := range e.Args {
		res.Args = append(res.Args, m.replace(a))
	}
	return &res
}

// typeOfValue is the type of a value that a message may hold, or of the
// elements of one that it may repeat.
func typeOfValue(v cedar.Value) (t *typ, list bool) {
	switch v := v.(type) {
	case cedar.Long:
		return longType, false
	case cedar.Boolean:
		return boolType, false
	case cedar.String:
		return textType, false
	case cedar.Set:
		for x := range v.All() {
			e, inner := typeOfValue(x)
			if e == nil || inner || t != nil && t.kind != e.kind {
				return nil, true
			}
			t = e
		}
		return t, true
	}
	return nil, false
}

func (m *parameters) parameter(v cedar.Value, t *typ, list bool, e *syntax.Expr) *syntax.Expr {
	m.values = append(m.values, v)
	name := fmt.Sprintf("p%d", len(m.values))
	a := &attr{name: name, number: uint32(len(m.values)), typ: t, what: image.Scalar}
	read := &syntax.Expr{Op: syntax.Access, Name: name, Pos: e.Pos, Args: []*syntax.Expr{{Op: syntax.Var, Name: "context", Pos: e.Pos}}}
	if list {
		a.typ = recordType(name, &attr{name: "count", typ: longType, what: image.Count}, &attr{name: "values", typ: &typ{kind: set, elem: t}})
		read = &syntax.Expr{Op: syntax.Access, Name: "values", Pos: e.Pos, Args: []*syntax.Expr{read}}
	}
	m.ctx.rec.add(a)
	return read
}

// unlawful says what of a condition no image may have: what the compiler's
// check of types, which the corpus does without, refuses before.
func (m *parameters) unlawful(e *image.Expr) string {
	text := func(o image.Operand) bool {
		if o.What == image.Constant {
			return o.Value.IsString
		}
		_, ok := m.values[o.Path[0]-1].(cedar.String)
		return ok
	}
	switch e.Op {
	case image.Eq, image.Less, image.LessEq:
		switch {
		case text(e.Left) != text(e.Right):
			return "type mismatch of a parameter"
		case text(e.Left) && e.Left.What != image.Constant && e.Right.What != image.Constant:
			return "two String parameters compared with each other"
		case text(e.Left) && e.Op != image.Eq:
			return "type mismatch of a parameter"
		}
	case image.In, image.AnyIn, image.AnyOut:
		for _, v := range e.Set {
			if v.IsString != e.Set[0].IsString {
				return "a set of different types"
			}
		}
	}
	for i := range e.Args {
		if bad := m.unlawful(&e.Args[i]); bad != "" {
			return bad
		}
	}
	return ""
}

func (m *parameters) Has([]uint32) bool { return true }

func (m *parameters) Long(p []uint32, what image.What) int64 {
	v := m.values[p[0]-1]
	if what == image.Count {
		return int64(v.(cedar.Set).Len())
	}
	x, _ := constantOf(v)
	return x.Long
}

func (m *parameters) Text(p []uint32) string {
	x, _ := constantOf(m.values[p[0]-1])
	return x.String
}

func (m *parameters) Elements(p []uint32) (all []image.Value) {
	for v := range m.values[p[0]-1].(cedar.Set).All() {
		x, _ := constantOf(v)
		all = append(all, x)
	}
	return all
}

// A corpusTally counts the requests of the corpus by what became of them.
type corpusTally struct {
	cases, requests, same int
	refused               map[string]int
}

// TestCedarCorpus runs Cedar's own corpus: for every request the compiled
// policy gives Cedar's verdict and reason, or the compiler refuses it. It runs
// twice: with all that the policies read constant, which Cedar's evaluator
// folds, and with the attributes that they read as parameters of a message,
// which are compiled to the form that filters are made of.
// docs/cedar-corpus.md has the table; -update writes it.
func TestCedarCorpus(t *testing.T) {
	cases := readCorpus(t)
	var tallies [2]corpusTally
	for i := range tallies {
		tallies[i].refused = map[string]int{}
	}
	for name, c := range cases {
		var findings diag.List
		s := corpusSource(name, c.policy, &findings)
		for i := range tallies {
			n := &tallies[i]
			n.cases++
			n.requests += len(c.Requests)
			if findings.Failed() {
				n.refused["reading: "+reason(findings)] += len(c.Requests)
				continue
			}
			r := &corpusRun{corpusCase: c, s: s, attributes: i == 1}
			for j := range c.Requests {
				q := &c.Requests[j]
				matches, refused := r.decide(q)
				if refused != "" {
					n.refused[refused]++
					continue
				}
				n.same++
				allow := matches && !r.s.Forbid
				if allow != (q.Decision == "allow") || matches != (len(q.Reason) > 0) || len(q.Errors) > 0 {
					t.Errorf("%s, request %d, attributes as parameters %v: matches %v, Cedar: %s by %v, errors %v\n%s", name, j, r.attributes, matches, q.Decision, q.Reason, q.Errors, c.policy)
				}
			}
		}
	}
	text := corpusTable(&tallies)
	t.Log(text)
	const file = "../docs/cedar-corpus.md"
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if old, err := os.ReadFile(file); err != nil || string(old) != text {
		t.Errorf("%s is not what the corpus gives now (%v); -update writes it", file, err)
	}
}

func corpusTable(tallies *[2]corpusTally) string {
	var b strings.Builder
	b.WriteString(`# Cedar's own corpus

Made by ` + "`TestCedarCorpus`" + ` (policy/corpus_test.go) from the archive in the module cedar-go: for every request of every case the compiled
policy gives the verdict and the reason that Cedar's corpus states, or the compiler refuses the policy. There is no third row: a different
verdict fails the test.

The corpus has one policy a case and never mentions ` + "`context`" + `, so it runs twice. *Constant*: entities are constant, as they are when a system is
compiled, and the compiler's scope and folding decide. *As parameters*: each number, string, Bool and set of these that a policy reads from an
entity is made a parameter of a message, so that the condition is compiled to the form that filters are made of, and evaluated. Entity types
and IDs of a case are declared, since its schema is not one of Ward's; types are therefore not checked before folding, and what would
be refused there is refused as it is folded. Annotations are left aside.

| | constant | as parameters |
|---|---|---|
`)
	row := func(what string, a, c int) { fmt.Fprintf(&b, "| %s | %d | %d |\n", what, a, c) }
	row("cases", tallies[0].cases, tallies[1].cases)
	row("requests", tallies[0].requests, tallies[1].requests)
	row("**same verdict and reason**", tallies[0].same, tallies[1].same)
	row("different verdict", 0, 0)
	var reasons []string
	for _, n := range tallies {
		for k := range n.refused {
			reasons = append(reasons, k)
		}
	}
	slices.Sort(reasons)
	for _, k := range slices.Compact(reasons) {
		row("refused: "+strings.ReplaceAll(k, "|", "\\|"), tallies[0].refused[k], tallies[1].refused[k])
	}
	return b.String()
}
