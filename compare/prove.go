package compare

import (
	"fmt"
	"slices"

	"ward/abi"
	"ward/image"
	"ward/policy/eval"
	"ward/policy/prove"
)

// What the search by cases does not take in, conditions on state, on elements and
// patterns with gaps, policy/prove does: it is asked for a message that one
// decision admits and the other does not. It knows one image, so what the
// conditions of the other name is given the numbers of the first.

// joint is two decisions over one image.
type joint struct {
	img      image.Image
	message  *image.Message
	old, new image.Decision
	cells    map[uint32][]uint32 // values that the state of either side may have
	users    []uint32            // atoms that some condition looks at
}

// join brings a pair together. A reason says why that is not possible.
func join(p pair) (j *joint, reason string) {
	base, other := p.new, p.old
	if base.message == nil && other.message != nil {
		base, other = other, base
	}
	s := &searcher{pair: p, byKey: map[string]int{}}
	for _, x := range []*side{&p.old, &p.new} {
		for _, e := range atoms(x.decision) {
			for _, path := range [][]uint32{e.Path, e.Left.Path, e.Right.Path} {
				if len(path) > 0 {
					if reason = s.field(path); reason != "" {
						return nil, reason
					}
				}
			}
		}
	}
	j = &joint{img: *base.Image, message: base.message, cells: map[uint32][]uint32{}}
	j.img.Policies = append(slices.Clip(base.Policies), image.Policy{ID: "flip"})
	j.img.Users, j.img.Groups = slices.Clone(base.Users), slices.Clone(base.Groups)
	j.img.States, j.img.Cells = slices.Clone(base.States), slices.Clone(base.Cells)
	mine, reason := j.renumber(base.decision, base, base)
	if reason != "" {
		return nil, reason
	}
	theirs, reason := j.renumber(other.decision, other, base)
	if reason != "" {
		return nil, reason
	}
	j.old, j.new = *theirs, *mine
	if base.Image != p.new.Image || base.decision != p.new.decision {
		j.old, j.new = j.new, j.old
	}
	return j, ""
}

// renumber gives a decision of a side the numbers of j.
func (j *joint) renumber(d *image.Decision, x, base side) (*image.Decision, string) {
	reason := ""
	at := func(list *[]string, name string) uint32 {
		i := slices.Index(*list, name)
		if i < 0 {
			i = len(*list)
			*list = append(*list, name)
		}
		return uint32(i)
	}
	operand := func(o image.Operand) image.Operand {
		if o.What == image.CellValue && reason == "" {
			o.Cell, reason = j.cell(x, base, o.Cell)
		}
		return o
	}
	var expr func(e image.Expr) image.Expr
	expr = func(e image.Expr) image.Expr {
		args := make([]image.Expr, len(e.Args))
		for i := range e.Args {
			args[i] = expr(e.Args[i])
		}
		e.Args = args
		e.Left, e.Right = operand(e.Left), operand(e.Right)
		switch e.Op {
		case image.User:
			if e.Atom = at(&j.img.Users, x.Users[e.Atom]); !slices.Contains(j.users, e.Atom) {
				j.users = append(j.users, e.Atom)
			}
		case image.Group:
			e.Atom = at(&j.img.Groups, x.Groups[e.Atom])
		}
		return e
	}
	rules := func(list []image.Rule) []image.Rule {
		list = slices.Clone(list)
		for i := range list {
			list[i].When = expr(list[i].When)
		}
		return list
	}
	return &image.Decision{Forbid: rules(d.Forbid), Permit: rules(d.Permit)}, reason
}

// cell finds a cell of a side in j, by its state and owner, and notes the values
// that it may have there.
func (j *joint) cell(x, base side, cell uint32) (uint32, string) {
	c := x.Cells[cell]
	st := x.States[c.State]
	owner := func(img *image.Image, d abi.DomainID) string {
		if d == abi.NoDomain {
			return ""
		}
		return img.Domains[d].Name
	}
	i := slices.IndexFunc(j.img.Cells, func(o image.Cell) bool {
		return j.img.States[o.State].Name == st.Name && owner(base.Image, o.Domain) == owner(x.Image, c.Domain)
	})
	if i < 0 {
		i = len(j.img.Cells)
		c.State, c.Domain = uint32(len(j.img.States)), abi.NoDomain
		j.img.States, j.img.Cells = append(j.img.States, st), append(j.img.Cells, c)
	}
	there := &j.img.States[j.img.Cells[i].State]
	n := min(len(st.Values), len(there.Values))
	if st.Per != there.Per || !slices.Equal(st.Values[:n], there.Values[:n]) {
		return 0, "state " + st.Name + " is another one on the other side"
	}
	if len(st.Values) > len(there.Values) {
		there.Values = st.Values
	}
	values := append(slices.Clone(j.cells[uint32(i)]), prove.Reachable(&st)...)
	slices.Sort(values)
	j.cells[uint32(i)] = slices.Compact(values)
	return uint32(i), ""
}

func allows(d *image.Decision) image.Expr {
	some := func(rules []image.Rule) image.Expr {
		e := image.Expr{Op: image.Or}
		for i := range rules {
			e.Args = append(e.Args, rules[i].When)
		}
		if len(rules) == 0 {
			e.Op = image.False
		}
		return e
	}
	return image.Expr{Op: image.And, Args: []image.Expr{some(d.Permit), not(some(d.Forbid))}}
}

func not(e image.Expr) image.Expr { return image.Expr{Op: image.Not, Args: []image.Expr{e}} }

// flip looks for a message that the new decision allows and the old one does
// not, or the other way round.
func (j *joint) flip(allow bool) (*flip, prove.Answer) {
	is, was := allows(&j.new), allows(&j.old)
	if !allow {
		is, was = was, is
	}
	when := image.Expr{Op: image.And, Args: []image.Expr{is, not(was)}}
	d := &image.Decision{Permit: []image.Rule{{Policy: uint32(len(j.img.Policies) - 1), When: when}}}
	answer := prove.Never
	for n := -1; n < len(j.users); n++ { // a user has one name
		users := map[uint32]bool{}
		for i, u := range j.users {
			users[u] = i == n
		}
		e, a := prove.Ask(&prove.Question{Image: &j.img, Message: j.message, Decisions: []*image.Decision{d}, Users: users, Cells: j.cells,
			Want: func(v image.Verdict) bool { return v.Allow }})
		switch a {
		case prove.Found:
			client := eval.Client{User: func(u uint32) bool { return users[u] }, Member: func(g uint32) bool { return e.Groups[g] }}
			f := &flip{args: map[string]any{}, state: j.state(&e)}
			f.old, _ = eval.Decide(&j.old, &e, client)
			f.new, _ = eval.Decide(&j.new, &e, client)
			if len(j.users) > 0 {
				if f.user = "somebody else"; n >= 0 {
					f.user = j.img.Users[j.users[n]]
				}
			}
			for g, in := range e.Groups {
				if in {
					f.groups = append(f.groups, j.img.Groups[g])
				}
			}
			slices.Sort(f.groups)
			j.arguments(f, &e)
			return f, a
		case prove.Unknown:
			answer = a
		}
	}
	return nil, answer
}

// state is the state that an example meets, by the names of `ward state`.
func (j *joint) state(e *prove.Example) map[string]string {
	if len(e.Cells) == 0 {
		return nil
	}
	all := map[string]string{}
	for _, v := range e.Cells {
		c := &j.img.Cells[v.Cell]
		st := &j.img.States[c.State]
		name := st.Name
		switch {
		case st.Per == image.PerGate:
			name = "gate." + name
		case c.Domain != abi.NoDomain:
			name = j.img.Domains[c.Domain].Name + "." + name
		case st.Per == image.PerSystem:
			name = "system." + name
		}
		all[name] = fmt.Sprint(v.Value)
		if int(v.Value) < len(st.Values) {
			all[name] = st.Values[v.Value]
		}
	}
	return all
}

// arguments writes an example in the form of Cedar's context.
func (j *joint) arguments(f *flip, e *prove.Example) {
	gone := func(path []uint32) bool {
		return slices.ContainsFunc(e.Values, func(v prove.Value) bool {
			return !v.Present && len(v.Path) < len(path) && slices.Equal(v.Path, path[:len(v.Path)])
		})
	}
	// A message before what is in it.
	values := slices.Clone(e.Values)
	slices.SortStableFunc(values, func(a, b prove.Value) int { return len(a.Path) - len(b.Path) })
	for _, v := range values {
		if gone(v.Path) {
			continue
		}
		args, m := f.args, j.message
		for _, n := range v.Path[:len(v.Path)-1] {
			if n == image.MetadataField {
				args = into(args, image.MetadataName)
				break
			}
			field := fieldOf(m, n)
			args, m = into(args, field.Name), &j.img.Messages[field.Message]
		}
		name := v.Field.Name
		switch {
		case !v.Present:
			args[name] = nil
		case v.What == image.Constant: // that it is there
			if _, said := args[name]; !said && v.Field.Type == image.Nested {
				args[name] = map[string]any{}
			}
		case v.What == image.Size:
			args[name] = map[string]any{"size": v.Long}
		case v.What == image.Count && v.Elements != nil:
			var list []any
			for _, x := range v.Elements {
				if x.IsString {
					list = append(list, x.String)
				} else {
					list = append(list, x.Long)
				}
			}
			args[name] = list
		case v.What == image.Count:
			args[name] = map[string]any{"count": v.Long}
		case v.IsText:
			args[name] = v.Text
		case v.Field.Type == image.Bool:
			args[name] = v.Long != 0
		default:
			args[name] = v.Long
		}
	}
}

// joined compares a pair by proofs. reason says why it cannot.
func (c *comparer) joined(p pair, x Change) (reason string) {
	j, reason := join(p)
	if reason != "" {
		return reason
	}
	flips := false
	for _, allow := range []bool{false, true} {
		x := x
		f, answer := j.flip(allow)
		switch answer {
		case prove.Found:
			x.Change = Denied
			if allow {
				x.Change = Allowed
			}
			x.Args, x.User, x.Groups, x.State = f.args, f.user, f.groups, f.state
			x.Old, x.New = c.old.side(f.old), c.new.side(f.new)
			if len(f.state) > 0 {
				x.Detail = "under a state that moves lead to, each state by itself"
			}
			c.add(x)
			flips = true
		case prove.Unknown:
			if allow {
				x.Change, x.Detail = Open, "no flip found by search, and not all could be tried"
			} else {
				x.Change, x.Detail = Changed, "less access could not be excluded: no flip found by search, and not all could be tried"
			}
			c.add(x)
			flips = true
		}
	}
	if !flips {
		c.report.Proved++
	}
	return ""
}
