package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"ward/audit"
	"ward/cases"
	"ward/compile"
	"ward/diag"
	"ward/explain"
	"ward/image"
	"ward/policy"
)

// confinedExplain is the confined child of `ward explain`.
const confinedExplain = "confined-explain"

// asked is what it is asked: a question, or a line of the audit file.
type asked struct {
	Question cases.Question
	Compact  []string // arguments, if Question.Args is empty
	Record   json.RawMessage
	Object   *explain.ObjectQuestion // a right to an object, in place of a question
}

// explained is its answer.
type explained struct {
	Findings     diag.List             `json:"findings,omitempty"`
	Refused      string                `json:"refused,omitempty"` // what is wrong with the question
	Explanations []explain.Explanation `json:"explanations,omitempty"`
}

func newExplain() *cobra.Command {
	var q asked
	var to, from, record string
	var groups, states []string
	var reply, last bool
	cmd := &cobra.Command{
		Use:   "explain DIR FROM METHOD [NAME=VALUE…] | DIR FROM create|open.read|open.write OBJECT",
		Short: "Say why a request is allowed or denied, and what would allow it",
		Long: `Say why a request is allowed or denied: the policy that decides, the values that it
saw, the permits that came close and which of their conditions failed, and the
smallest change that would allow it. Nothing is started; the compiled policy is asked.

What is not given may have any value: the answer then holds for all values, or says
that it depends, with an example of both.

	ward explain DIR certd keys.v1.KeyStore/Rotate site=www chain.size=4096
	ward explain DIR user:alice keys.v1.KeyStore/Rotate '{"site": "www"}'
	ward explain DIR certd keys.v1.KeyStore/Rotate ward.metadata.x-tenant=lab  metadata beside it
	ward explain DIR keystore keys.v1.KeyStore/Rotate --reply --to certd
	ward explain DIR viewer open.read frames         a right to an object of system.yaml
	ward explain --last                     the newest denial of the running system
	ward explain --record 17                a record of its audit file
	ward audit --json --verdict deny | tail -1 | ward explain DIR --record -

Exit status: 0 allowed, for all that was not given; 1 denied, or it depends; 2 bad input.`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: completeExplain,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := "", error(nil)
			if last || record != "" {
				if last && record != "" {
					return badInput("--last and --record ask about two records")
				}
				if len(args) > 1 || to != "" || reply || len(groups)+len(states) > 0 {
					return badInput("a record says from whom, to whom and what: give no more than DIR")
				}
				if q.Record, err = readRecord(cmd, from, record); err != nil {
					return err
				}
				if len(args) == 1 {
					dir = args[0]
				} else if dir, err = sourceOf(from); err != nil {
					return err
				}
			} else {
				if len(args) < 3 {
					return badInput("what is asked about? give DIR FROM METHOD, or --last, or --record SEQ")
				}
				dir = args[0]
				if explain.IsAction(args[2]) {
					if len(args) != 4 || to != "" || reply || len(groups)+len(states) > 0 {
						return badInput("a right to an object has no arguments: write DIR FROM %s OBJECT", args[2])
					}
					q.Object = &explain.ObjectQuestion{From: args[1], Action: args[2], Object: args[3]}
					return runExplain(cmd, dir, &q)
				}
				q.Question = cases.Question{From: args[1], To: to, Method: args[2], Reply: reply}
				for _, s := range states {
					name, value, ok := strings.Cut(s, "=")
					if !ok || name == "" || value == "" {
						return badInput("--state is %q; write gate.NAME=VALUE, system.NAME=VALUE or DOMAIN.NAME=VALUE", s)
					}
					if q.Question.State == nil {
						q.Question.State = map[string]string{}
					}
					q.Question.State[name] = value
				}
				if cmd.Flags().Changed("group") {
					q.Question.Groups = slices.DeleteFunc(groups, func(g string) bool { return g == "" })
					if q.Question.Groups == nil {
						q.Question.Groups = []string{}
					}
				}
				if len(args) == 4 && strings.HasPrefix(strings.TrimSpace(args[3]), "{") {
					q.Question.Args = strings.Join(strings.Fields(args[3]), " ")
				} else {
					q.Compact = args[3:]
				}
			}
			return runExplain(cmd, dir, &q)
		},
	}
	systemFlag(cmd, &from)
	cmd.Flags().StringVar(&to, "to", "", "the other end (default: each domain that it may be)")
	cmd.Flags().BoolVar(&reply, "reply", false, "ask about the reply: FROM is the server")
	cmd.Flags().StringArrayVar(&groups, "group", nil, "a group that the user is in; '' for none at all (default: the user may be in any)")
	cmd.Flags().StringArrayVar(&states, "state", nil, "what some state is, as gate.session=authenticated (default: what its moves lead to)")
	cmd.Flags().BoolVar(&last, "last", false, "explain the newest denial of the running system")
	cmd.Flags().StringVar(&record, "record", "", "explain the record with this number in the audit file, or - for one from standard input")
	flagWords(cmd, "to", completeTo)
	flagWords(cmd, "record", completeDenials)
	return cmd
}

func runExplain(cmd *cobra.Command, dir string, q *asked) error {
	question, err := json.Marshal(q)
	if err != nil {
		return failed("%w", err)
	}
	var answer explained
	if err := runConfined(cmd.Context(), dir, &answer, confinedExplain, string(question)); err != nil {
		return err
	}
	if answer.Findings.Failed() {
		return reportFindings(cmd, dir, &compiled{Findings: answer.Findings})
	}
	if answer.Refused != "" {
		return badInput("%s", answer.Refused)
	}
	if wantJSON(cmd) {
		err = printRecords(cmd.OutOrStdout(), answer.Explanations)
	} else {
		err = explainText(cmd.OutOrStdout(), dir, answer.Explanations)
	}
	if err != nil {
		return failed("%w", err)
	}
	for i := range answer.Explanations {
		if e := &answer.Explanations[i]; e.Verdict != explain.Allow || e.Record != nil && e.Record.Verdict == audit.Deny {
			return &exitError{status: exitFailed}
		}
	}
	return nil
}

func newConfinedExplain() *cobra.Command {
	return &cobra.Command{
		Use: confinedExplain, Hidden: true, Args: cobra.ExactArgs(1),
		Short: "Explain a request to the archive on standard input (the confined child of explain)",
		RunE: func(_ *cobra.Command, args []string) error {
			if _, err := confine(); err != nil {
				return failed("confine the compiler: %w", err)
			}
			files, err := unpackDirectory(os.Stdin)
			if err != nil {
				return badInput("archive: %w", err)
			}
			var q asked
			if err := json.Unmarshal([]byte(args[0]), &q); err != nil {
				return badInput("%w", err)
			}
			var answer explained
			result, findings := compile.Dir(files)
			answer.Findings = findings
			if result.Image != nil && !findings.Failed() {
				s := &explain.System{Image: result.Image, Set: result.Set, Policies: policy.Outlines(slices.Concat(result.Sources, result.Library))}
				if answer.Explanations, err = answerTo(s, &q); err != nil {
					answer.Refused = err.Error()
				}
			}
			return send(answer)
		},
	}
}

func answerTo(s *explain.System, q *asked) ([]explain.Explanation, error) {
	if len(q.Record) > 0 && string(q.Record) != "null" {
		r, err := explain.ParseRecord(q.Record)
		if err != nil {
			return nil, err
		}
		return s.Record(r)
	}
	if q.Object != nil {
		return s.Object(*q.Object)
	}
	if q.Question.Args == "" && len(q.Compact) > 0 {
		args, err := cases.Compact(s.Image, s.Set, q.Question.Method, q.Question.Reply, q.Compact)
		if err != nil {
			return nil, err
		}
		q.Question.Args = args
	}
	return s.Question(q.Question)
}

// readRecord finds the record that is asked about: that from standard input,
// that with a number, or the newest denial.
func readRecord(cmd *cobra.Command, system, which string) (json.RawMessage, error) {
	if which == "-" {
		line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 1<<20)).ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, failed("%w", err)
		}
		if !json.Valid(line) {
			return nil, badInput("standard input is not an audit record: one line of JSON, as `ward audit --json` prints")
		}
		return line, nil
	}
	var seq uint64
	filter := audit.Filter{Verdict: audit.Deny}
	if which != "" {
		var err error
		if seq, err = strconv.ParseUint(which, 10, 64); err != nil {
			return nil, badInput("--record is %q; it must be the number (seq) of a record, or -", which)
		}
		filter = audit.Filter{}
	}
	dir, err := systemDir(system)
	if err != nil {
		return nil, err
	}
	path := auditIn(dir)
	var found *audit.Record
	for r, err := range audit.Read(path, filter) {
		switch {
		case errors.Is(err, os.ErrPermission):
			return nil, failed("%s: only root may read it; run it through sudo", path)
		case err != nil:
			return nil, failed("%w", err)
		case which != "" && r.Seq != seq, which == "" && (r.Verdict != audit.Deny || !explainable(r.Event)):
		default:
			found = &r
		}
	}
	if found == nil && which != "" {
		return nil, failed("%s has no record %d", path, seq)
	}
	if found == nil {
		return nil, failed("%s has no denial that could be explained: of a call, a reply, a gate, a publication, an address, a child, a loan or a right to an object", path)
	}
	return json.Marshal(found)
}

func explainable(event string) bool {
	return event == audit.EventCall || event == audit.EventReply || event == audit.EventGate || event == audit.EventObject ||
		event == audit.EventSpawned || event == audit.EventLent || event == audit.EventSocket || event == audit.EventPublished
}

// Where `ward up` notes the directory that a system was started from.
func sourceNote(name string) string { return filepath.Join(runRoot, ".sources", name) }

// noteSource notes the directory that a system is started from, so that
// explain finds its policies. That it cannot is no reason not to start.
func noteSource(name, dir string) {
	full, err := filepath.Abs(dir)
	if err != nil {
		return
	}
	if err := os.MkdirAll(filepath.Dir(sourceNote(name)), 0o755); err != nil {
		return
	}
	_ = os.WriteFile(sourceNote(name), []byte(full+"\n"), 0o644)
}

// sourceOf is the directory that a system was started from.
func sourceOf(system string) (string, error) {
	dir, err := systemDir(system)
	if err != nil {
		return "", err
	}
	note, err := os.ReadFile(sourceNote(filepath.Base(dir)))
	if err != nil {
		return "", badInput("it is not known from which directory %s was started: give DIR", filepath.Base(dir))
	}
	return strings.TrimSuffix(string(note), "\n"), nil
}

// namesOf lists the domains, methods and objects of a system directory.
func namesOf(cmd *cobra.Command, dir string) (domains, methods, objects []string) {
	c, err := compileDirectory(cmd.Context(), dir)
	if err != nil {
		return nil, nil, nil
	}
	return namesIn(c.Image)
}

// namesIn lists the domains, methods and objects of an encoded image.
func namesIn(encoded []byte) (domains, methods, objects []string) {
	img, err := image.Decode(encoded)
	if err != nil {
		return nil, nil, nil
	}
	for _, d := range img.Domains {
		if !d.Mailbox {
			domains = append(domains, d.Name)
		}
	}
	for _, o := range img.Objects {
		objects = append(objects, o.Name)
	}
	for _, i := range img.Interfaces {
		for _, m := range i.Methods {
			methods = append(methods, i.Name+"/"+m.Name)
		}
	}
	return domains, methods, objects
}

// explainText prints explanations for people.
func explainText(w io.Writer, dir string, all []explain.Explanation) error {
	p := &explainPrinter{dir: dir, style: styleFor(w)}
	for i := range all {
		if i > 0 {
			p.b.WriteByte('\n')
		}
		p.explanation(&all[i])
	}
	_, err := io.WriteString(w, p.b.String())
	return err
}

type explainPrinter struct {
	b     strings.Builder
	dir   string
	style style
}

func (p *explainPrinter) line(format string, args ...any) {
	p.b.WriteString(plain(fmt.Sprintf(format, args...)) + "\n")
}

func (p *explainPrinter) indented(by, text string) {
	for l := range strings.Lines(text) {
		p.b.WriteString(by + plain(strings.TrimRight(strings.ReplaceAll(l, "\t", "  "), "\r\n")) + "\n")
	}
}

func (p *explainPrinter) explanation(e *explain.Explanation) {
	word := map[string]string{explain.Allow: p.style.good("ALLOWED"), explain.Deny: p.style.bad("DENIED"),
		explain.Depends: p.style.bold("DEPENDS"), explain.Unknown: p.style.bold("UNKNOWN")}[e.Verdict]
	headline := e.Kind + " " + e.From
	if e.To+e.Object != "" {
		headline += " → " + strings.TrimSpace(e.To+"  "+e.Object)
	}
	for _, part := range []string{e.Method, e.Args} {
		if part != "" {
			headline += "  " + part
		}
	}
	fmt.Fprintf(&p.b, "%s  %s\n", word, plain(headline))
	p.recorded(e)
	if e.Why != "" {
		p.indented("  ", e.Why)
	}
	if e.Check == "default" {
		p.indented("  ", "by default: what no policy permits does not happen")
	}
	for i := range e.Policies {
		p.indented("  ", "by "+p.named(&e.Policies[i]))
		p.indented("      ", e.Policies[i].Text)
	}
	if len(e.Saw) > 0 {
		p.indented("  ", "it saw "+valuesText(e.Saw))
	}
	for _, note := range e.Notes {
		p.indented("  ", note)
	}
	for _, effect := range e.Effects {
		p.indented("  ", effect)
	}
	p.example("allowed", e.Allowed)
	p.example("denied", e.Denied)
	for i := range e.Close {
		n := &e.Close[i]
		p.indented("  ", "close: "+p.named(&n.Policy))
		if n.Scope != "" {
			p.indented("      ", n.Scope)
		}
		for _, t := range n.Missing {
			text := "fails: " + t.Condition
			if len(t.Saw) > 0 {
				text += "   where " + valuesText(t.Saw)
			}
			p.indented("      ", text)
		}
	}
	for i := range e.Changes {
		c := &e.Changes[i]
		switch {
		case c.Write != "":
			p.indented("  ", "to allow it, write:")
			p.indented("      ", c.Write)
		case len(c.Set) > 0:
			p.indented("  ", "allowed with "+valuesText(c.Set))
		default:
			p.indented("  ", "to allow it: "+c.Text)
		}
	}
}

// recorded says what the record said, where that is more than the policy says.
func (p *explainPrinter) recorded(e *explain.Explanation) {
	r := e.Record
	if r == nil {
		return
	}
	said := r.Verdict
	if r.Policy != "" {
		said += fmt.Sprintf(" by %q", r.Policy)
	}
	if r.Reason != "" {
		said += ", " + r.Reason
	}
	if r.Detail != "" {
		said += " (" + r.Detail + ")"
	}
	p.indented("  ", fmt.Sprintf("record %d says: %s", r.Seq, said))
	for _, name := range r.Cut {
		p.indented("  ", fmt.Sprintf("the record has only the beginning of %s: it is taken as not given", name))
	}
	if r.Changed(e) {
		p.indented("  ", "the policies of the directory decide otherwise: they have changed since, or what denied it is no policy")
	}
}

func (p *explainPrinter) named(x *explain.Policy) string {
	return fmt.Sprintf("%s %q (%s)", x.Effect, x.ID, filepath.Join(p.dir, x.Source))
}

func (p *explainPrinter) example(word string, c *explain.Case) {
	if c == nil {
		return
	}
	text := word + ", for example"
	if c.Args != "" {
		text += " with " + c.Args
	}
	if len(c.State) > 0 {
		for i := range c.State {
			c.State[i].Any = false
		}
		text += " with " + valuesText(c.State)
	}
	if len(c.Groups) > 0 {
		text += " in the groups " + strings.Join(c.Groups, ", ")
	}
	by := "by default"
	if c.Policy != nil {
		by = "by " + p.named(c.Policy)
	}
	p.indented("  ", text+": "+by)
}

func valuesText(list []explain.Value) string {
	var parts []string
	for _, v := range list {
		text := v.Name + "=" + v.Value
		switch {
		case v.Any:
			text += " (any; an example)"
		case v.Unsent && v.Value != "null":
			text += " (not sent)"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " ")
}
