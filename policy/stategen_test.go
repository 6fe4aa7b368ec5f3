package policy_test

import (
	"fmt"
	"slices"
	"strings"

	"ward/abi"
	"ward/image"
	"ward/policy/eval"
	"ward/policy/internal/cedar"
	"ward/policy/prove"
)

// A stateDecl is a declared state of a random system.
type stateDecl struct {
	name, per string
	values    []string
	initial   string
	moves     map[string][]string
}

// states makes the states of a random system.
func (g *generator) states() string {
	g.declared = []*stateDecl{
		{name: "session", per: "gate", values: []string{"anonymous", "pending", "known"}},
		{name: "door", per: "gate", values: []string{"shut", "open"}},
		{name: "level", per: "domain", values: []string{"low", "middle", "high"}},
		{name: "mood", per: "domain", values: []string{"calm", "cross"}},
		{name: "mode", per: "system", values: []string{"normal", "locked", "maintenance", "a.b-c"}},
	}
	var b strings.Builder
	b.WriteString("state:\n")
	for _, d := range g.declared {
		d.initial, d.moves = pick(g, d.values...), map[string][]string{}
		var moves []string
		for _, from := range d.values {
			for _, to := range d.values {
				if from != to && !g.chance(3) {
					d.moves[from] = append(d.moves[from], to)
				}
			}
			if len(d.moves[from]) > 0 {
				moves = append(moves, from+": ["+strings.Join(d.moves[from], ", ")+"]")
			}
		}
		fmt.Fprintf(&b, "  %s: {per: %s, values: [%s], initial: %s, moves: {%s}}\n", d.name, d.per, strings.Join(d.values, ", "), d.initial, strings.Join(moves, ", "))
	}
	return b.String()
}

// aboutState writes a test of state; user: the client is one, who has none.
func (g *generator) aboutState(m method, user bool) string {
	d := pick(g, g.declared...)
	var path, guard string
	switch d.per {
	case "gate":
		path = "context.ward.gate." + d.name
	case "system":
		path = `System::"zoo".state.` + d.name
	default:
		client, server := "principal", "resource"
		if m.reply {
			client, server = server, client
		}
		path = pick(g, server+".state.", fmt.Sprintf(`Domain::"%s".state.`, pick(g, g.domains...)))
		if !user {
			path = pick(g, path, client+".state.")
		}
		if strings.HasPrefix(path, client) {
			guard = client + " is Domain && "
		}
		path += d.name
	}
	v := func() string { return quoted(pick(g, d.values...)) }
	return "(" + guard + pick(g, path+" == "+v(), path+" != "+v(), v()+" == "+path, "["+v()+", "+v()+"].contains("+path+")",
		path+` like "*o*"`, "["+path+"].containsAny(["+v()+"])", path+" == "+path) + ")"
}

func quoted(s string) string { return `"` + s + `"` }

// statePolicy writes a permit that changes state, and is easily satisfied.
func (g *generator) statePolicy() string {
	m := pick(g, g.methods...)
	a := ""
	for !strings.Contains(a, "@enter") {
		a = g.annotations(m)
	}
	when := pick(g, "", " when { "+g.aboutState(m, false)+" }", " when { "+g.condition(m, false, 0)+" }")
	server := "Domain"
	if strings.Contains(m.action, "C.") {
		server = "Object"
	}
	return a + "permit (principal is Domain, action == " + m.action + ", resource is " + server + ")" + when + ";"
}

// annotations writes effects for a permit: mostly none.
func (g *generator) annotations(m method) string {
	s := ""
	if g.chance(3) {
		s = fmt.Sprintf(`@rate("%s") `, pick(g, "1/s", "100/s burst 20", "3/ms", "7/m burst 2"))
	}
	if g.chance(2) {
		return s
	}
	var parts []string
	for range pick(g, 1, 1, 2) {
		d := pick(g, g.declared...)
		target := d.per
		if target == "domain" {
			target = pick(g, "principal", "resource")
		}
		parts = append(parts, target+"."+d.name+"="+pick(g, d.values...))
	}
	return s + `@enter("` + strings.Join(parts, "; ") + `") `
}

// A model is the plain model of a system's state: a value for each name.
type model struct {
	declared []*stateDecl
	values   map[string]string
	changes  int // of the whole
}

func (o *oracle) newModel() *model { return &model{declared: o.declared, values: map[string]string{}} }

func (m *model) decl(name string) *stateDecl {
	return m.declared[slices.IndexFunc(m.declared, func(d *stateDecl) bool { return d.name == name })]
}

// get reads the state that something (a gate, a domain, the system) has.
func (m *model) get(of, name string) string {
	if v, ok := m.values[of+"."+name]; ok {
		return v
	}
	return m.decl(name).initial
}

// record is all state that something has, for Cedar.
func (m *model) record(of, per string) cedar.Value {
	r := map[cedar.String]cedar.Value{}
	for _, d := range m.declared {
		if d.per == per {
			r[cedar.String(d.name)] = cedar.String(m.get(of, d.name))
		}
	}
	return cedar.NewRecord(r)
}

// enter makes what the @enter of some policies says, or nothing: it reports
// whether all moves are declared.
func (m *model) enter(texts []string, principal, resource, gate string) bool {
	next := map[string]string{}
	for _, text := range texts {
		for part := range strings.SplitSeq(text, "; ") {
			path, value, _ := strings.Cut(part, "=")
			target, name, _ := strings.Cut(path, ".")
			of := map[string]string{"principal": principal, "resource": resource, "gate": gate, "system": "zoo"}[target]
			if from := m.get(of, name); from != value && !slices.Contains(m.decl(name).moves[from], value) {
				return false
			}
			next[of+"."+name] = value
		}
	}
	for k, v := range next {
		m.values[k] = v
	}
	return true
}

// same compares the model with cells of an image.
func (m *model) same(img *image.Image, gate string, cell func(uint32) uint32) string {
	for i, c := range img.Cells {
		s := &img.States[c.State]
		of := "zoo"
		switch s.Per {
		case image.PerGate:
			of = gate
		case image.PerDomain:
			of = img.Domains[c.Domain].Name
		}
		if got, want := s.Values[cell(uint32(i))], m.get(of, s.Name); got != want {
			return fmt.Sprintf("%s.%s is %s, in the model %s", of, s.Name, got, want)
		}
	}
	return ""
}

// enterOf is the text of a policy's @enter.
func enterOf(line string) string {
	_, rest, ok := strings.Cut(line, `@enter("`)
	if !ok {
		return ""
	}
	text, _, _ := strings.Cut(rest, `"`)
	return text
}

// shake gives a random cell of domains or of the system a value that its moves
// can lead to, in the model and in the words: else all would soon stand still.
func (o *oracle) shake(memory *eval.Memory) {
	i := o.r.IntN(len(o.img.Cells))
	c := &o.img.Cells[i]
	s := &o.img.States[c.State]
	of := "zoo"
	switch s.Per {
	case image.PerGate:
		return
	case image.PerDomain:
		of = o.img.Domains[c.Domain].Name
	}
	v := pick(o.generator, prove.Reachable(s)...)
	memory.Set(uint32(i), v)
	o.model.values[of+"."+s.Name] = s.Values[v]
}

// tellState puts the state of domains and of the system into Cedar's entities.
func (o *oracle) tellState() {
	for _, d := range o.img.Domains {
		of, ring := image.Ringed(d.Name)
		if ring != "" && o.in != d.Name {
			continue
		}
		uid := cedar.NewUID("Domain", of) // in another ring it comes after all others, and stands for this one
		e := o.entities[uid]
		attrs := map[cedar.String]cedar.Value{}
		for k, v := range e.Attributes.All() {
			attrs[k] = v
		}
		attrs["ring"] = ringOf(d.Ring)
		attrs["state"] = o.model.record(d.Name, "domain")
		o.entities[uid] = cedar.NewEntity(uid, nil, attrs)
	}
	uid := cedar.NewUID("System", "zoo")
	o.entities[uid] = cedar.NewEntity(uid, nil, map[cedar.String]cedar.Value{"name": cedar.String("zoo"), "state": o.model.record("zoo", "system")})
}

// commit makes the changes of an outcome, and those that Cedar's reasons and
// the text of their @enter mean in the plain model, and compares.
func (o *oracle) commit(env cedar.Env, outcome *eval.Outcome, memory *eval.Memory, gate string, reasons []string) string {
	if !outcome.Verdict.Allow {
		return ""
	}
	var texts, limited []string
	for _, id := range reasons {
		if t := enterOf(o.lineOf[id]); t != "" && !o.forbids[id] {
			texts = append(texts, t)
		}
		if strings.Contains(o.lineOf[id], "@rate(") {
			limited = append(limited, id)
		}
	}
	var got []string
	for _, e := range outcome.Effects {
		if e.Rate != (image.Rate{}) {
			got = append(got, o.img.Policies[e.Policy].ID)
		}
	}
	slices.Sort(got)
	slices.Sort(limited)
	if !slices.Equal(got, limited) {
		return fmt.Sprintf("buckets of %v, want %v", got, limited)
	}
	o.stats.limited += len(got)
	before := slices.Clone(memory.Words)
	gateBefore := memory.Gate
	_, reason := memory.Commit(outcome)
	moved := o.model.enter(texts, o.nameOf(env.Principal), o.nameOf(env.Resource), gate)
	if moved != (reason == abi.ReasonPermit) {
		return fmt.Sprintf("%v: %v; the model moved: %v", texts, reason, moved)
	}
	if !moved {
		o.stats.undeclared++
	}
	o.gates[gate] = memory.Gate
	changed := 0
	for i, w := range append([]uint64{memory.Gate}, memory.Words...) {
		old := append([]uint64{gateBefore}, before...)[i]
		if w != old {
			changed++
			if w>>image.StateBits != (old>>image.StateBits+1)&0xffff {
				return "a change that is not counted"
			}
		}
	}
	if changed > 1 || changed > 0 && !moved {
		return fmt.Sprintf("%d words changed by one message", changed)
	}
	o.stats.changed += changed
	return o.model.same(o.img, gate, memory.Cell)
}
