package policy

import (
	"fmt"
	"slices"
	"strconv"

	"ward/abi"
	"ward/diag"
	"ward/image"
	"ward/policy/internal/cedar"
	"ward/policy/internal/syntax"
	"ward/system"
)

// perNames are what `per` of system.yaml stands for.
var perNames = map[string]image.Per{"gate": image.PerGate, "domain": image.PerDomain, "system": image.PerSystem}

// stateTypeNames are the types that hold state, as findings name them.
var stateTypeNames = map[image.Per]string{image.PerGate: "context.ward.gate", image.PerDomain: "the state of a domain", image.PerSystem: "the state of the system"}

// stateType is the record of the states that each gate, each domain or the
// system has. A value is a String that has some values only.
func (w *world) stateType(per image.Per) *typ {
	t := recordType(stateTypeNames[per])
	for i := range w.sys.States {
		s := &w.sys.States[i]
		if perNames[s.Per.Value] != per {
			continue
		}
		names := &closed{what: "state " + s.Name.Value, names: s.Names(), numbers: map[string]int64{}}
		for v, n := range names.names {
			names.numbers[n] = int64(v)
		}
		t.rec.add(&attr{name: s.Name.Value, typ: &typ{kind: text, names: names}, what: image.CellValue, state: uint32(i)})
	}
	return t
}

// otherState is the fix for a state that is read where it is not, or is not
// declared at all; on is the type that it is read of.
func (k *checker) otherState(e *syntax.Expr, on string) (string, bool) {
	here := false
	for _, n := range stateTypeNames {
		here = here || n == on
	}
	if !here {
		return "", false
	}
	s := k.sys.State(e.Name)
	if s == nil {
		var names []string
		for i := range k.sys.States {
			names = append(names, k.sys.States[i].Name.Value)
		}
		return didYouMean(e.Name, names, "state: declare it under `state` in "+system.FileName), true
	}
	as := map[image.Per]string{image.PerGate: "context.ward.gate.", image.PerDomain: "principal.state.",
		image.PerSystem: "System::" + quote(k.sys.Name.Value) + ".state."}[perNames[s.Per.Value]] + e.Name
	return fmt.Sprintf("it is declared per: %s: write %s", s.Per.Value, as), true
}

// maxCells bounds the instances of all states of a system.
const maxCells = 1 << 16

// A cellKey names an instance of a state.
type cellKey struct {
	state  uint32
	domain abi.DomainID
}

// makeCells makes the states of the image, and a cell for each of their
// instances. Their places are found last, by layout.
func (c *compiler) makeCells() {
	c.cells = map[cellKey]uint32{}
	add := func(state int, domain abi.DomainID) {
		c.cells[cellKey{uint32(state), domain}] = uint32(len(c.img.Cells))
		c.img.Cells = append(c.img.Cells, image.Cell{State: uint32(state), Domain: domain})
	}
	for i := range c.sys.States {
		s := &c.sys.States[i]
		out := image.State{Name: s.Name.Value, Per: perNames[s.Per.Value], Values: s.Names(), Initial: uint32(s.Initial)}
		for _, m := range s.Moves {
			out.Moves = append(out.Moves, image.Move{From: uint32(m.From), To: uint32(m.To)})
		}
		sortMoves(out.Moves)
		c.img.States = append(c.img.States, out)
		if out.Per != image.PerDomain {
			add(i, abi.NoDomain)
			continue
		}
		for _, d := range c.processes() { // a mailbox has no state
			add(i, abi.DomainID(d))
		}
		if len(c.img.Cells) > maxCells {
			c.findings.Errorf(s.Name.Pos, "declare fewer states for each domain", "the states of this system have %d instances: the limit is %d", len(c.img.Cells), maxCells)
			return
		}
	}
}

// stateOf folds the reading of state: of an entity, or of this gate.
func (f *folder) stateOf(on value, e *syntax.Expr) (value, bool) {
	if uid, ok := on.constant.(cedar.UID); ok && e.Op == syntax.Access && e.Name == "state" {
		return value{record: f.attrs[string(uid.Type)].rec.attrs["state"].typ, owner: uid}, true
	}
	if on.record == nil {
		return value{}, false
	}
	a := on.record.rec.attrs[e.Name]
	if a == nil || a.what != image.CellValue {
		return value{}, false
	}
	if e.Op == syntax.Has {
		return exprValue(constExpr(true)), true
	}
	key := cellKey{a.state, abi.NoDomain}
	if string(on.owner.Type) == typeDomain {
		key.domain = abi.DomainID(slices.IndexFunc(f.domains, func(d *system.Domain) bool { return d.Name.Value == string(on.owner.ID) }))
	}
	return value{operand: &image.Operand{What: image.CellValue, Cell: f.cells[key]}, typ: a.typ}, true
}

// cellName names a cell for findings: what a policy would write.
func (c *compiler) cellName(cell uint32) string {
	l := &c.img.Cells[cell]
	s := &c.img.States[l.State]
	switch s.Per {
	case image.PerGate:
		return "context.ward.gate." + s.Name
	case image.PerSystem:
		return "System::" + quote(c.sys.Name.Value) + ".state." + s.Name
	}
	return "Domain::" + quote(c.domains[l.Domain].Name.Value) + ".state." + s.Name
}

// statePos is where a state is declared.
func (c *compiler) statePos(state uint32) diag.Pos { return c.sys.States[state].Name.Pos }

// plural writes "1 bit", "2 bits".
func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return strconv.Itoa(n) + " " + word + "s"
}
