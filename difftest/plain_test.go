package difftest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"

	"ward/abi"
	"ward/image"
	"ward/system"
)

// The plain model of what a running system remembers: the value of each state
// by name, and the buckets of rates. It is made from system.yaml and from the
// text of policies, and knows nothing of cells, words and bits.

// A plain is the state of a running system.
type plain struct {
	states  []system.State
	values  map[string]string // by "OF.NAME": OF is a domain, zoo, or the name of a gate
	buckets map[string]int64  // by policy, sender and method: minutes until it is full, if no time passes
	changes int               // of values, ever
}

func newPlain(states []system.State) *plain {
	return &plain{states: states, values: map[string]string{}, buckets: map[string]int64{}}
}

func (m *plain) has(name string) bool {
	return slices.ContainsFunc(m.states, func(s system.State) bool { return s.Name.Value == name })
}

func (m *plain) decl(name string) *system.State {
	return &m.states[slices.IndexFunc(m.states, func(s system.State) bool { return s.Name.Value == name })]
}

// get reads the state that a gate, a domain or the system has.
func (m *plain) get(of, name string) string {
	if v, ok := m.values[of+"."+name]; ok {
		return v
	}
	s := m.decl(name)
	return s.Values[s.Initial].Value
}

func (m *plain) set(of, name, value string) {
	m.values[of+"."+name] = value
	m.changes++
}

// record is all state that something has, for Cedar.
func (m *plain) record(of, per string) types.Value {
	r := types.RecordMap{}
	for i := range m.states {
		if s := &m.states[i]; s.Per.Value == per {
			r[types.String(s.Name.Value)] = types.String(m.get(of, s.Name.Value))
		}
	}
	return types.NewRecord(r)
}

// declared reports whether a state may go from one value to another.
func declared(s *system.State, from, to string) bool {
	return from == to || slices.ContainsFunc(s.Moves, func(m system.Move) bool { return s.Values[m.From].Value == from && s.Values[m.To].Value == to })
}

// reachable are the values that declared moves lead to from the initial one.
func reachable(s *system.State) []string {
	seen := []string{s.Values[s.Initial].Value}
	for i := 0; i < len(seen); i++ {
		for _, v := range s.Values {
			if declared(s, seen[i], v.Value) && !slices.Contains(seen, v.Value) {
				seen = append(seen, v.Value)
			}
		}
	}
	return seen
}

// An act of a message, as the text of policies has it.
type event struct {
	principal, resource, gate string // whose state @enter means
	sender, method            string // whose bucket, and of which method and direction
}

// minutes a token takes, and the burst, of the rates that systems have.
func rateOf(text string) (every, burst int64) {
	unit, n := "", int64(0)
	if _, err := fmt.Sscanf(strings.Replace(text, "/", " ", 1), "%d %s burst %d", &n, &unit, &burst); err != nil {
		panic(text)
	}
	return map[string]int64{"h": 60, "d": 24 * 60}[unit] / n, burst
}

// annotation is the text of an annotation of a policy, or "".
func annotation(policy, name string) string {
	_, rest, ok := strings.Cut(policy, "@"+name+`("`)
	if !ok {
		return ""
	}
	text, _, _ := strings.Cut(rest, `"`)
	return text
}

// An effect is what an admitted message does to the model.
type effect struct {
	values map[string]string
	tokens map[string]int64
}

// outcome is what the texts of the satisfied permits make of an event.
func (m *plain) outcome(policies map[string]string, satisfied []string, e event) (abi.Reason, effect) {
	x := effect{map[string]string{}, map[string]int64{}}
	for _, id := range satisfied {
		text := annotation(policies[id], "enter")
		if text == "" {
			continue
		}
		for part := range strings.SplitSeq(text, "; ") {
			path, value, _ := strings.Cut(part, "=")
			target, name, _ := strings.Cut(path, ".")
			of := map[string]string{"principal": e.principal, "resource": e.resource, "gate": e.gate, "system": "zoo"}[target]
			if !declared(m.decl(name), m.get(of, name), value) {
				return abi.ReasonState, effect{}
			}
			x.values[of+"."+name] = value
		}
	}
	for _, id := range satisfied {
		if text := annotation(policies[id], "rate"); text != "" {
			every, burst := rateOf(text)
			key := id + " " + e.sender + " " + e.method
			if m.buckets[key]+every > every*burst {
				return abi.ReasonRate, effect{}
			}
			x.tokens[key] = m.buckets[key] + every
		}
	}
	return abi.ReasonPermit, x
}

func (m *plain) apply(x effect) {
	for k, v := range x.values {
		if m.values[k] != v {
			m.values[k] = v
			m.changes++
		}
	}
	maps.Copy(m.buckets, x.tokens)
}

// owner is whose a cell is, as the model names it.
func owner(img *image.Image, c *image.Cell, gate string) string {
	switch img.States[c.State].Per {
	case image.PerGate:
		return gate
	case image.PerDomain:
		return img.Domains[c.Domain].Name
	}
	return "zoo"
}

// same compares the model with what words hold. Words of gates are read for gate.
func (m *plain) same(img *image.Image, gate string, word func(uint32) uint64) error {
	for i := range img.Cells {
		c := &img.Cells[i]
		s := &img.States[c.State]
		if c.Word == image.GateWord && gate == "" {
			continue
		}
		of, v := owner(img, c, gate), c.Value(word(c.Word))
		if int(v) >= len(s.Values) || s.Values[v] != m.get(of, s.Name) {
			return fmt.Errorf("%s.%s is value %d of %q, in the model %s", of, s.Name, v, s.Values, m.get(of, s.Name))
		}
	}
	return nil
}
