package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"ward/audit"
	"ward/system"
)

// impliedPolicy starts the ID of policies that follow from others.
const impliedPolicy = "implied: "

// A teller prints audit records, as lines for people or as JSON, and counts
// what it has seen.
type teller struct {
	out   io.Writer
	json  bool
	rings map[int32]string // names, if they are known
	style style
	tally tally
	fault error // the first failure to write
}

// tally counts the records of a run.
type tally struct {
	allowed, denied int // messages
	opened, refused int // gates
	addresses       int // that were refused to domains
	lost            uint64
	failed          []string // domains that ended with a status other than 0, or were refused
}

// nothing reports whether no message and no gate has been decided on.
func (t *tally) nothing() bool {
	return t.allowed == 0 && t.denied == 0 && t.opened == 0 && t.refused == 0 && t.addresses == 0 && t.lost == 0
}

func newTeller(out io.Writer, json bool) *teller {
	return &teller{out: out, json: json, style: styleFor(out)}
}

// tell prints one record.
func (t *teller) tell(r *audit.Record) {
	t.tally.add(r)
	if t.json {
		t.keep(jsonLines(t.out).Encode(r))
		return
	}
	if line := t.line(visible(r)); line != "" {
		_, err := fmt.Fprintf(t.out, "%s  %s\n", t.style.dim(r.Time.Local().Format("15:04:05.000")), line)
		t.keep(err)
	}
}

// visible is r for people: what domains chose themselves (the name of an
// interface that there is none of) and what others worded must not reach a
// terminal as control sequences. params and policies are quoted anyway.
func visible(r *audit.Record) *audit.Record {
	v := *r
	for _, s := range []*string{&v.System, &v.Domain, &v.From, &v.To, &v.Interface, &v.Method, &v.Kind, &v.Reason, &v.Detail, &v.Address, &v.Object} {
		*s = printable(*s)
	}
	return &v
}

func (t *teller) keep(err error) { t.fault = cmp.Or(t.fault, err) }

func (c *tally) add(r *audit.Record) {
	count := func(allow, deny *int) {
		switch r.Verdict {
		case audit.Allow:
			*allow++
		case audit.Deny:
			*deny++
		}
	}
	switch r.Event {
	case audit.EventCall, audit.EventReply, audit.EventLookup, audit.EventPublished, audit.EventWithdrawn:
		count(&c.allowed, &c.denied)
	case audit.EventGate:
		count(&c.opened, &c.refused)
	case audit.EventLost:
		c.lost += r.Lost
	case audit.EventStarted:
		if r.Verdict == audit.Deny {
			c.failed = append(c.failed, r.Domain+" (start denied)")
		}
	case audit.EventEnded:
		if r.Status != nil && *r.Status != 0 {
			c.failed = append(c.failed, fmt.Sprintf("%s (%s)", r.Domain, endWords(*r.Status)))
		}
	case audit.EventSocket:
		if r.Verdict == audit.Deny {
			c.addresses++
		}
	}
}

// sum is the last line of a story.
func (c *tally) sum() string {
	s := fmt.Sprintf("%s allowed, %d denied", count(c.allowed, "message"), c.denied)
	if c.allowed == 0 {
		// Most systems keep records of denied messages only: none of the others is no finding.
		s = count(c.denied, "message") + ` denied (allowed ones are recorded with "audit: all")`
	}
	s += fmt.Sprintf("; %s opened, %d refused", count(c.opened, "gate"), c.refused)
	if c.addresses > 0 {
		s += fmt.Sprintf("; %d times an address refused", c.addresses)
	}
	if c.lost > 0 {
		s += fmt.Sprintf("; %s lost", count(int(c.lost), "record"))
	}
	return s
}

// line tells one record in a line. The event comes first, in a column of its
// own. It is empty for what goes without saying.
func (t *teller) line(r *audit.Record) string {
	if r.Event == audit.EventReply && r.Verdict == audit.Allow && strings.HasPrefix(r.Method, system.NamesInterface+"/") {
		return "" // the lookup or publication itself is told
	}
	var rest string
	switch r.Event {
	case audit.EventCompiled:
		rest = t.style.bold(r.System)
		if r.Hash != "" {
			rest += "  image sha256:" + r.Hash[:min(16, len(r.Hash))]
		}
		if r.Detail != "" {
			rest += "  " + r.Detail
		}
	case audit.EventStarted:
		rest = t.style.bold(r.Domain)
		if r.UID != nil {
			rest += fmt.Sprintf("  uid %d", *r.UID)
		}
		if r.Ring != nil {
			rest += strings.TrimRight(fmt.Sprintf("  ring %d %s", *r.Ring, t.rings[*r.Ring]), " ")
		}
		if r.PID != 0 {
			rest += fmt.Sprintf("  pid %d", r.PID)
		}
		if r.Verdict == audit.Deny {
			rest += "  " + t.verdict(r)
		}
	case audit.EventPublished, audit.EventWithdrawn, audit.EventLookup:
		rest = cmp.Or(r.From, r.Domain) + "  " + r.Interface + "  " + t.verdict(r)
	case audit.EventGate:
		rest = t.ends(r) + "  " + r.Interface + "  " + t.verdict(r)
	case audit.EventCall, audit.EventReply:
		rest = t.ends(r) + "  " + cmp.Or(r.Method, r.Interface) + t.kind(r) + t.params(r.Params) + "  " + t.verdict(r)
	case audit.EventEnded:
		rest = t.style.bold(r.Domain) + "  " + t.ending(r)
	case audit.EventSocket:
		rest = t.style.bold(r.From) + "  " + r.Kind + " " + r.Address + "  " + t.verdict(r)
	case audit.EventSpawned, audit.EventLent:
		rest = r.From + " → " + cmp.Or(r.Domain, r.To)
		if r.UID != nil && r.Ring != nil {
			rest += strings.TrimRight(fmt.Sprintf("  uid %d  ring %d %s", *r.UID, *r.Ring, t.rings[*r.Ring]), " ")
		}
		rest += "  " + t.verdict(r)
	case audit.EventObject:
		rest = t.ends(&audit.Record{From: cmp.Or(r.From, r.Domain), To: r.To}) + "  " + objectDeed(r) + "  " + t.verdict(r)
	case audit.EventLost:
		rest = t.style.bad(fmt.Sprintf("%s of %s", count(int(r.Lost), "record"), cmp.Or(r.From, r.Domain, "wardd")))
	default:
		rest = strings.TrimSpace(strings.Join([]string{cmp.Or(r.Domain, r.System), r.Detail, r.Reason}, " "))
	}
	return fmt.Sprintf("%-9s  %s", r.Event, strings.TrimRight(rest, " "))
}

// objectDeed says what of an object was asked for.
func objectDeed(r *audit.Record) string {
	deed := cmp.Or(r.Kind, r.Access) + " " + cmp.Or(r.Object, "by handle")
	if r.Access == "open.write" {
		deed += ", to write"
	}
	return deed
}

// ends names both; a gate that was refused may have no server yet.
func (t *teller) ends(r *audit.Record) string {
	if r.To == "" {
		return r.From
	}
	return r.From + " → " + r.To
}

// kind is said where it is not the usual one.
func (t *teller) kind(r *audit.Record) string {
	if r.Kind == "" || r.Kind == r.Event {
		return ""
	}
	return " (" + r.Kind + ")"
}

// params shows what the policy looked at, in order.
func (t *teller) params(params map[string]any) string {
	if len(params) == 0 {
		return ""
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(params)) {
		switch v := params[k].(type) {
		case string:
			parts = append(parts, fmt.Sprintf("%s=%q", k, v))
		case map[string]any: // {"size": 3} or {"count": 3}
			for _, what := range slices.Sorted(maps.Keys(v)) {
				parts = append(parts, k+"."+what+"="+jsonValue(v[what]))
			}
		default:
			parts = append(parts, k+"="+jsonValue(v))
		}
	}
	return " {" + strings.Join(parts, " ") + "}"
}

// jsonValue writes a value of a record that was read as JSON: an integer is one.
func jsonValue(v any) string {
	if f, ok := v.(float64); ok {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

// verdict says what was decided, and by what.
func (t *teller) verdict(r *audit.Record) string {
	why := r.Reason
	switch {
	case strings.HasPrefix(r.Policy, impliedPolicy) && r.Verdict == audit.Allow:
		why = "implied"
	case r.Policy != "":
		why = fmt.Sprintf("by %q", r.Policy)
	}
	if r.Detail != "" {
		why = strings.TrimSpace(why + " (" + r.Detail + ")")
	}
	switch r.Verdict {
	case audit.Allow:
		return strings.TrimSpace(t.style.good("allowed") + " " + t.style.dim(why))
	case audit.Deny:
		return t.style.bad("DENIED") + " " + cmp.Or(why, "default deny")
	}
	return why
}

func (t *teller) ending(r *audit.Record) string {
	switch {
	case r.Status == nil:
		return r.Detail
	case *r.Status == 0:
		return t.style.good(endWords(0))
	}
	return t.style.bad(endWords(*r.Status))
}

// endWords says how a domain ended that has the given status in the audit.
func endWords(status int) string {
	if status > 128 {
		return fmt.Sprintf("ended by signal %d", status-128)
	}
	return fmt.Sprintf("exit status %d", status)
}
