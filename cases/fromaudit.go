package cases

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ward/abi"
	"ward/diag"
	"ward/image"
	"ward/interfaces"
	"ward/internal/yamltext"
)

// A Happened is what an audit record says, as far as a case can say it. Its
// keys are those of the audit file.
type Happened struct {
	Event     string            `json:"event"`
	Seq       uint64            `json:"seq"`
	Domain    string            `json:"domain"`
	From      string            `json:"from"`
	To        string            `json:"to"`
	Object    string            `json:"object"` // of the event object, with Access: what was asked for
	Access    string            `json:"access"`
	Interface string            `json:"interface"`
	Method    string            `json:"method"`
	Kind      string            `json:"kind"`
	Params    map[string]any    `json:"params"`
	State     map[string]string `json:"state"`   // after the decision: of a denial also before it
	Changes   *uint16           `json:"changes"` // of State, so far
	Time      string            `json:"time"`    // RFC 3339, UTC
	Verdict   string            `json:"verdict"`
	Policy    string            `json:"policy"`
	Reason    string            `json:"reason"`
	Detail    string            `json:"detail"` // of the event lent: the entry point
}

// Written is the outcome of FromAudit.
type Written struct {
	Text    string // a test file
	Cases   int    // in it
	Records int    // that they stand for
	Left    int    // records that no case can stand for: noted at the end of Text
}

// checks are the denials by a check of the filter that a case has a word for.
var checks = map[string]string{
	abi.ReasonDefault.String(): "default",
	abi.ReasonState.String():   "state",
	abi.ReasonBounds.String():  "bounds", abi.ReasonRequired.String(): "bounds", abi.ReasonEnum.String(): "bounds",
	abi.ReasonUnknownField.String(): "signature", abi.ReasonWireType.String(): "signature", abi.ReasonWidth.String(): "signature",
}

// A draft is a case in the making.
type draft struct {
	title   string  // what the name begins with
	message string  // what is asked for, in lines
	state   string  // that it meets, as the record says it; empty: that is not said there
	verdict string  // what is expected, a line
	note    string  // what the record does not have
	problem string  // why it cannot stand
	at      *moment // nil: the record has no state
	count   int
}

func (d *draft) line() string { return d.title + "\n" + d.message + d.verdict }

func (d *draft) stateLine() string {
	if d.state == "" {
		return ""
	}
	return "  state: " + d.state + "\n"
}

// key is the same of drafts that are one case.
func (d *draft) key() string {
	key := d.title + "\n" + d.message + d.stateLine() + d.verdict
	if d.at != nil && d.state == "" && d.at.known {
		key += "\n" + d.at.word + "\n" + d.at.before
	}
	return key
}

// FromAudit writes cases from what happened: one for each different message
// and state that it met, publication, start, kind of child, delegation and right to an object. A message that depends on what
// came before it is the last step of a sequence. A case that would not pass, as
// the record has too little of the message, is written as a comment that says
// so. The text depends on the set of the records only, not on their order.
//
// Preconditions: img and set come from one compilation without errors.
func FromAudit(img *image.Image, set *interfaces.Set, records []Happened) Written {
	drafts := map[string]*draft{}
	skipped := map[string]int{}
	line := newTimeline(img, set)
	records = inOrder(records)
	met := line.meetAll(records)
	for i := range records {
		h, at := &records[i], met[i]
		d, why := draftOf(img, set, line, h)
		if d == nil {
			if why != "" {
				skipped[why]++
			}
			continue
		}
		d.at = at
		key := d.key()
		if first := drafts[key]; first != nil {
			d = first
		} else {
			drafts[key] = d
			line.move(d)
		}
		d.count++
	}
	var out Written
	var b, failed strings.Builder
	b.WriteString("# Written by `ward test --from-audit`: what happened, as cases. Give those that matter names of their own.\nward: 1\ncases:\n")
	names := map[string]int{}
	for _, key := range slices.Sorted(maps.Keys(drafts)) {
		d := drafts[key]
		name := d.title + line.met(d)
		if names[name]++; names[name] > 1 {
			name = fmt.Sprintf("%s (%d)", name, names[name])
		}
		head := "- name: " + quote(name) + "\n"
		forms := line.texts(d)
		text := head + forms[0]
		if d.problem == "" {
			for _, form := range forms {
				problem := try(img, set, head+form)
				if problem == "" {
					text, d.problem = head+form, ""
					break
				}
				d.problem = cmp.Or(d.problem, problem)
			}
		}
		if d.problem != "" {
			out.Left += d.count
			if why := d.missing(); why != "" {
				d.problem = why + "; " + d.problem
			}
			if d.note != "" {
				d.problem = d.note + "; " + d.problem
			}
			fmt.Fprintf(&failed, "# %s\n%s", d.problem, comment(text))
			continue
		}
		if d.note != "" {
			fmt.Fprintf(&b, "# %s\n", d.note)
		}
		b.WriteString(text)
		out.Cases, out.Records = out.Cases+1, out.Records+d.count
	}
	if out.Cases == 0 {
		b.WriteString("  []\n")
	}
	if failed.Len() > 0 {
		b.WriteString("\n# What these records say cannot be tested from them:\n\n" + failed.String())
	}
	for _, why := range slices.Sorted(maps.Keys(skipped)) {
		fmt.Fprintf(&b, "# %d left out: %s\n", skipped[why], why)
		out.Left += skipped[why]
	}
	out.Text = b.String()
	return out
}

func comment(text string) string {
	return "#   " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n#   ") + "\n"
}

// oneLine makes text fit a comment.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }), " ")
}

// draftOf makes a draft of a record, or says why there is none; "" if the
// record is about nothing that a case could say.
func draftOf(img *image.Image, set *interfaces.Set, line *timeline, h *Happened) (*draft, string) {
	verdict, why := verdictOf(h)
	switch {
	case h.Event == "started" && verdict != "":
		return &draft{title: h.Domain + " starts", message: "  start: " + quote(h.Domain) + "\n", verdict: verdict}, ""
	case h.Event == "published" && verdict != "":
		return &draft{title: h.From + " publishes " + h.Interface,
			message: "  from: " + quote(h.From) + "\n  publish: " + quote(h.Interface) + "\n", verdict: verdict}, ""
	case h.Event == "spawned" || h.Event == "lent":
		return kinDraft(img, h, verdict, why)
	case h.Event == "object" && (verdict != "" || h.Verdict == "deny"):
		return objectDraft(h, verdict)
	case h.Event != "call" && h.Event != "reply":
		return nil, ""
	case h.Method == "" || h.From == "" || h.To == "":
		return nil, "a message of which the record does not know the method or the ends"
	case strings.HasPrefix(h.Method, "ward.v1.Names/"):
		return nil, "" // publish and lookup are events of their own
	case h.Kind == "error" || h.Kind == "stream end" || h.Kind == "cancel" || h.Kind == "credit":
		return nil, "" // no message of the method
	case verdict == "":
		return nil, why
	}
	word := map[bool]string{true: "allowed", false: "denied"}[h.Verdict == "allow"]
	d := &draft{verdict: verdict, title: fmt.Sprintf("%s %ss %s of %s: %s", h.From, h.Event, h.Method, h.To, word)}
	if h.Event == "reply" {
		d.title = fmt.Sprintf("%s answers %s of %s: %s", h.From, h.Method, h.To, word)
	}
	args, cut := RecordedArgs(img, set, h.Method, h.Event == "reply", h.Params)
	if len(cut) > 0 {
		d.note = "left out, since the record has their beginning only: " + oneLine(strings.Join(cut, ", "))
	}
	if h.Policy != "" || h.Reason == abi.ReasonDefault.String() {
		args = append(args, absent(img, set, h, cut)...)
	}
	text, err := Compact(img, set, h.Method, h.Event == "reply", args)
	if err != nil {
		d.problem = oneLine(err.Error())
	}
	d.message = "  from: " + quote(h.From) + "\n  " + h.Event + ": " + quote(h.Method) + "\n  to: " + quote(h.To) + "\n"
	if len(args) > 0 {
		d.message += "  args: " + text + "\n"
	}
	if len(h.State) > 0 && (h.Verdict != "allow" || !line.enters(h)) {
		d.state = stateText(RecordedState(img, h.State))
	}
	return d, ""
}

// enters reports whether a message of this kind may change state: then the
// record does not say what it was before.
func enters(img *image.Image, set *interfaces.Set, h *Happened) bool {
	roads, findings := Roads(img, set, Question{From: h.From, To: h.To, Method: h.Method, Reply: h.Event == "reply"})
	if findings.Failed() || len(roads) != 1 {
		return true
	}
	for _, d := range roads[0].Question.Decisions {
		if slices.ContainsFunc(d.Permit, func(r image.Rule) bool { return len(r.Enter) > 0 }) {
			return true
		}
	}
	return false
}

// verdictOf writes the expectation, or says why there is none.
func verdictOf(h *Happened) (line, why string) {
	switch check := checks[h.Reason]; {
	case h.Verdict == "allow" && h.Policy != "":
		return "  allow: " + quote(h.Policy) + "\n", ""
	case h.Verdict == "allow":
		return "", "a message that no policy decides on: " + oneLine(h.Reason)
	case h.Policy != "":
		return "  deny: " + quote(h.Policy) + "\n", ""
	case check != "":
		return "  deny: " + check + "\n", ""
	}
	return "", "a denial that no case can say: " + oneLine(h.Reason)
}

// try runs one case. It returns "" if it passes, else why not, in one line.
func try(img *image.Image, set *interfaces.Set, text string) string {
	w := &world{img: img, set: set, policies: map[uint32]bool{}, methods: map[[2]uint32]bool{}}
	data := []byte("ward: 1\ncases:\n" + text)
	var findings diag.List
	src := yamltext.NewSource("case", data)
	root := yamltext.Parse(src, data, "a case", "", &findings)
	if root == nil || findings.Failed() {
		return "not well-formed: " + oneLine(firstOf(findings))
	}
	r := &reader{world: w, src: src, out: &findings, names: map[string]diag.Pos{}}
	tests := r.file(root)
	if findings.Failed() || len(tests) != 1 {
		return "this system does not know it: " + oneLine(firstOf(findings))
	}
	report := (&Suite{world: w, tests: tests}).Run(nil)
	if f := report.Results[0].Failures; len(f) > 0 {
		first, _, _ := strings.Cut(f[0], "\n")
		return oneLine(first)
	}
	return ""
}

func firstOf(l diag.List) string {
	if len(l) == 0 {
		return "incomplete"
	}
	return l[0].Message
}
