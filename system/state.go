package system

import (
	"slices"
	"strings"

	"ward/diag"
)

// Limits of declared state (image.MaxStates, image.MaxValues).
const (
	maxStates = 64
	maxValues = 1024 // of a state
)

// A State is an entry of `state`: a variable of each gate, of each domain or
// of the system, that admitted messages change by its moves.
type State struct {
	Name    String
	Per     String   // gate, domain or system
	Values  []String // at least one
	Initial int      // index into Values: without `initial`, the first
	Moves   []Move   // from one value to another; staying needs none
	Model   bool     // declared by a model of `use`, not by the file
}

// A Move is a declared change of a state. From and To are indexes into Values.
type Move struct {
	From, To int
	Pos      diag.Pos // of the value that it leads to
}

// State returns the state of a name, or nil.
func (s *System) State(name string) *State {
	i := slices.IndexFunc(s.States, func(st State) bool { return st.Name.Value == name })
	if i < 0 {
		return nil
	}
	return &s.States[i]
}

// Value returns the index of a value, or -1.
func (s *State) Value(name string) int {
	return slices.IndexFunc(s.Values, func(v String) bool { return v.Value == name })
}

// Names returns the values' names.
func (s *State) Names() []string {
	var names []string
	for _, v := range s.Values {
		names = append(names, v.Value)
	}
	return names
}

const (
	stateNamePattern = `^[a-z][a-z0-9_]{0,62}$`
	stateNameHint    = "small letters, digits and '_', starting with a letter, at most 63"
	valuePattern     = `^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`
	valueHint        = "letters, digits, '_', '.' and '-', at most 64"
)

var valueShape = str("A value.", valuePattern, valueHint)

var stateShape = objectOf("A state.",
	key{"per", true, oneOf("What has a state of its own: each `gate`, each `domain`, or the `system` once.", "gate", "domain", "system")},
	key{"values", true, listOf("The values that it may have. New ones are added at the end, so that a reload keeps the state.", maxValues, valueShape)},
	key{"initial", false, str("Its value at first: of a gate when it opens, of a domain when it starts. Without it, the first of `values`.", valuePattern, valueHint)},
	key{"moves", false, tableOf("Which value may follow which. Staying is always allowed, and nothing else is.", maxValues, valueShape,
		listOf("Values that may follow.", maxValues, valueShape))},
)

// wordsOfCedar cannot be the name of an attribute in a policy.
var wordsOfCedar = []string{"true", "false", "if", "then", "else", "in", "is", "like", "has"}

func (b *builder) states(v *value) {
	if v == nil {
		return
	}
	for _, p := range v.pairs {
		if slices.Contains(wordsOfCedar, p.key.Value) {
			b.out.Errorf(p.key.Pos, "choose another name", "the state %q has the name of a word of Cedar", p.key.Value)
			continue
		}
		if s, ok := b.state(p.key, p.value); ok {
			b.sys.States = append(b.sys.States, s)
		}
	}
}

func (b *builder) state(name String, v *value) (State, bool) {
	s := State{Name: name, Per: v.string("per"), Values: b.unique(v.strings("values"), "value")}
	if s.Per.Value == "" || len(s.Values) == 0 {
		if w := v.get("values"); w != nil && len(w.list) == 0 {
			b.out.Errorf(w.pos, "write what it may be, as [idle, busy]", "the state %q has no values", name.Value)
		}
		return s, false // other findings were reported with the shape
	}
	if i := v.string("initial"); i.Value != "" {
		if s.Initial = b.valueOf(&s, i); s.Initial < 0 {
			return s, false
		}
	}
	ok := true
	if moves := v.get("moves"); moves != nil {
		for _, m := range moves.pairs {
			ok = b.moves(&s, m) && ok
		}
	}
	return s, ok
}

func (b *builder) moves(s *State, m pair) bool {
	from := b.valueOf(s, m.key)
	ok := from >= 0
	var names []String
	for _, e := range m.value.list {
		names = append(names, String{e.text, e.pos})
	}
	for _, n := range b.unique(names, "move") {
		switch to := b.valueOf(s, n); {
		case to < 0:
			ok = false
		case to == from:
			b.out.Errorf(n.Pos, "leave it out", "state %s: staying %q is always allowed", s.Name.Value, n.Value)
			ok = false
		default:
			s.Moves = append(s.Moves, Move{from, to, n.Pos})
		}
	}
	return ok
}

// valueOf finds a value of a state; -1 after a finding.
func (b *builder) valueOf(s *State, name String) int {
	i := s.Value(name.Value)
	if i < 0 {
		fix := b.suggest(name.Value, s.Names())
		if fix == "" {
			list := s.Names()
			fix = "its values are " + strings.Join(list[:min(len(list), 8)], ", ")
		}
		b.out.Errorf(name.Pos, fix, "state %s has no value %q", s.Name.Value, short(name.Value))
	}
	return i
}
