package cases

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"google.golang.org/protobuf/reflect/protoreflect"

	"ward/diag"
	"ward/image"
	"ward/interfaces"
	"ward/internal/yamltext"
	"ward/policy/prove"
)

// A Question is about the messages of one method, as a step of a case is, but
// without a verdict that it expects.
type Question struct {
	From   string // a domain, or user:NAME
	To     string // empty: each domain that it may be about
	Method string // pkg.Service/Method
	Reply  bool
	Groups []string // that the user is in: all of them; nil: not said
	Args   string   // in the form of a test's args, on one line; empty: none
	// State is what some state is, in the form of a test's state; the rest may be
	// whatever its moves lead to.
	State map[string]string
}

// A Road is what decides on the messages of a question between two ends.
type Road struct {
	From, To string // sender and receiver
	// Fixed is not nil if the verdict is the same for every message: Why says
	// why. Question is of no use then.
	Fixed *image.Verdict
	Why   string
	// Question holds all but Want: what is given is the arguments, and before
	// them what has to hold of the client.
	Question prove.Question
	Client   int // how many of Question.Given are about the client
	Type     protoreflect.MessageDescriptor
}

// Roads finds what decides on the messages of a question, for each pair of
// ends. The findings are about the question; their places mean nothing.
//
// Preconditions: img and set come from one compilation without errors.
func Roads(img *image.Image, set *interfaces.Set, q Question) ([]Road, diag.List) {
	w := &world{img: img, set: set, policies: map[uint32]bool{}, methods: map[[2]uint32]bool{}}
	s, findings := w.ask1(q)
	if s == nil || findings.Failed() {
		return nil, findings
	}
	_, desc := w.message(s.target, q.Reply)
	var roads []Road
	for _, c := range s.channels(w) {
		r := Road{Fixed: c.fixed, Why: c.why, Question: c.query, Client: len(c.given), Type: desc}
		r.From, r.To, _ = strings.Cut(c.name, " to ")
		r.Question.Cells = s.set
		r.Question.Given = append(append([]image.Expr{}, c.given...), s.given...)
		roads = append(roads, r)
	}
	return roads, findings
}

// ask1 reads a question as a test file with one case, so that both are read
// by the same rules.
func (w *world) ask1(q Question) (*step, diag.List) {
	verb := "call"
	if q.Reply {
		verb = "reply"
	}
	fields := []string{`"name":"question"`, `"deny":"default"`, `"from":` + quote(q.From), `"` + verb + `":` + quote(q.Method)}
	if q.To != "" {
		fields = append(fields, `"to":`+quote(q.To))
	}
	if q.Groups != nil {
		var groups []string
		for _, g := range q.Groups {
			groups = append(groups, quote(g))
		}
		fields = append(fields, `"groups":[`+strings.Join(groups, ",")+"]")
	}
	if len(q.State) > 0 {
		fields = append(fields, `"state":`+stateText(q.State))
	}
	if q.Args != "" {
		fields = append(fields, `"args":`+q.Args)
	}
	text := []byte("ward: 1\ncases: [{" + strings.Join(fields, ",") + "}]\n")
	var findings diag.List
	src := yamltext.NewSource("question", text)
	root := yamltext.Parse(src, text, "a question", "", &findings)
	if root == nil || findings.Failed() {
		return nil, findings
	}
	r := &reader{world: w, src: src, out: &findings, names: map[string]diag.Pos{}}
	tests := r.file(root)
	if len(tests) != 1 || len(tests[0].steps) != 1 {
		return nil, findings
	}
	return tests[0].steps[0], findings
}

func stateText(state map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(state)) {
		parts = append(parts, quote(name)+": "+quote(state[name]))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// RecordedState is the state that an audit record carries, in the form of a
// test's state: a record says NAME, where a test says gate.NAME or system.NAME.
func RecordedState(img *image.Image, recorded map[string]string) map[string]string {
	state := map[string]string{}
	for name, value := range recorded {
		for i := range img.States {
			switch st := &img.States[i]; {
			case st.Name != name:
			case st.Per == image.PerGate:
				name = "gate." + name
			case st.Per == image.PerSystem:
				name = "system." + name
			}
		}
		state[name] = value
	}
	return state
}

// quote writes text as JSON does, which YAML reads as the same text.
func quote(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return `""`
	}
	return visible(strings.TrimSuffix(b.String(), "\n"))
}

// visible escapes what JSON leaves as it is and a terminal may obey, or show in
// another order than it stands: control characters from 0x7f on, directions.
func visible(quoted string) string {
	var b strings.Builder
	for _, r := range quoted {
		if r > 0xffff || unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// ShowArgs writes an example in the form of a test's args.
func ShowArgs(img *image.Image, e *prove.Example, d protoreflect.MessageDescriptor) string {
	return argumentsOf(img, e, d)
}
