package explain

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"ward/image"
	"ward/policy/prove"
)

const (
	maxSet          = 3 // arguments that are changed together
	maxAlternatives = 4 // of one size that are named
)

func allowed(v image.Verdict) bool { return v.Allow }

// change finds what would allow a denied message: other arguments and other
// state, as few as possible; else another user; else another policy.
func (a *answerer) change() {
	given, client := a.road.Question.Given[a.road.Client:], a.road.Question.Given[:a.road.Client]
	cells := slices.Sorted(maps.Keys(a.road.Question.Cells))
	for size := 1; size <= min(maxSet, len(given)+len(cells)); size++ {
		subsets(len(given)+len(cells), size, func(out []int) bool {
			kept := slices.Clone(client)
			for i := range given {
				if slices.Contains(out, i) {
					kept = append(kept, free(&given[i]))
				} else {
					kept = append(kept, given[i])
				}
			}
			arguments, state := out, []uint32(nil)
			if i := slices.IndexFunc(out, func(i int) bool { return i >= len(given) }); i >= 0 {
				arguments = out[:i]
				for _, at := range out[i:] {
					state = append(state, cells[at-len(given)])
				}
			}
			other := a.without(state)
			if e, answer := other.ask(kept, allowed, nil); answer == prove.Found {
				other.setArguments(given, arguments, kept, &e, state)
				a.e.Changes = other.e.Changes
			}
			return len(a.e.Changes) < maxAlternatives
		})
		if len(a.e.Changes) > 0 {
			return
		}
	}
	all, kept := make([]int, len(given)), slices.Clone(client)
	for i := range all {
		all[i] = i
		kept = append(kept, free(&given[i]))
	}
	if e, answer := a.ask(kept, allowed, nil); answer == prove.Found && len(given) > 0 {
		a.setArguments(given, all, kept, &e, nil)
		return
	}
	if a.anotherUser() || a.anotherState() {
		return
	}
	a.write()
}

// without is the question without what is given of some state.
func (a *answerer) without(state []uint32) *answerer {
	other, road := *a, *a.road
	if road.Question.Cells = maps.Clone(road.Question.Cells); len(state) > 0 {
		for _, cell := range state {
			delete(road.Question.Cells, cell)
		}
	}
	other.road = &road
	return &other
}

// free is a condition that always holds, and has the prover find values for
// the parameters of an argument.
func free(arg *image.Expr) image.Expr {
	return image.Expr{Op: image.Or, Args: []image.Expr{*arg, {Op: image.Not, Args: []image.Expr{*arg}}}}
}

// subsets visits the subsets of size of 0 to n-1, in order, until visit says no more.
func subsets(n, size int, visit func([]int) bool) {
	at := make([]int, size)
	for i := range at {
		at[i] = i
	}
	for visit(slices.Clone(at)) {
		i := size - 1
		for ; i >= 0 && at[i] == n-size+i; i-- {
		}
		if i < 0 {
			return
		}
		for at[i]++; i+1 < size; i++ {
			at[i+1] = at[i] + 1
		}
	}
}

// setArguments proposes the values that an example has for the arguments out
// of given, and for state; each number, in order, gets the nearest value that will do.
func (a *answerer) setArguments(given []image.Expr, out []int, kept []image.Expr, e *prove.Example, state []uint32) {
	var paths []image.Operand
	for _, i := range out {
		paths = operands(&given[i], paths)
	}
	for _, i := range out {
		if near, same, ok := a.nearest(&given[i], kept); ok {
			e, kept = &near, append(slices.Clip(kept), same)
		}
	}
	set := a.values(paths, e)
	for _, cell := range state {
		if v, ok := a.cell(cell, e); ok {
			set = append(set, v)
		}
	}
	for i := range set {
		set[i].Any = false
	}
	if len(set) > 0 && !slices.ContainsFunc(a.e.Changes, func(c Change) bool { return slices.Equal(c.Set, set) }) {
		a.e.Changes = append(a.e.Changes, Change{Set: set})
	}
}

// nearest finds an admitted message in which a number is as near as possible
// to what was given, an argument of the form `parameter == number`; and the
// condition that it has that value.
func (a *answerer) nearest(arg *image.Expr, kept []image.Expr) (best prove.Example, same image.Expr, ok bool) {
	for arg.Op == image.And && len(arg.Args) == 2 && arg.Args[0].Op == image.Has {
		arg = &arg.Args[1]
	}
	f := a.field(arg.Left.Path)
	if arg.Op != image.Eq || arg.Right.What != image.Constant || arg.Right.Value.IsString || f == nil && !image.IsMetadata(arg.Left.Path) || arg.Left.What == image.Scalar && f != nil && (f.Enum() != nil || f.Kind() == protoreflect.BoolKind) {
		return best, same, false
	}
	v := arg.Right.Value.Long
	within := func(d int64) (prove.Example, bool) {
		low, high := int64(math.MinInt64), int64(math.MaxInt64)
		if v >= low+d {
			low = v - d
		}
		if v <= high-d {
			high = v + d
		}
		bound := func(n int64) image.Operand { return image.Operand{Value: image.Value{Long: n}} }
		e, answer := a.ask(append(slices.Clip(kept),
			image.Expr{Op: image.LessEq, Left: bound(low), Right: arg.Left},
			image.Expr{Op: image.LessEq, Left: arg.Left, Right: bound(high)}), allowed, nil)
		return e, answer == prove.Found
	}
	best, ok = within(math.MaxInt64)
	if !ok {
		return best, same, false
	}
	least, most := int64(0), int64(math.MaxInt64) // within(most), not within(least)
	for most-least > 1 {
		middle := least + (most-least)/2
		if e, ok := within(middle); ok {
			best, most = e, middle
		} else {
			least = middle
		}
	}
	same = image.Expr{Op: image.Eq, Left: arg.Left, Right: image.Operand{Value: image.Value{Long: best.Long(arg.Left.Path, arg.Left.What)}}}
	return best, same, true
}

// anotherUser proposes groups for a user of whom they are given.
func (a *answerer) anotherUser() bool {
	if a.q.Groups == nil {
		return false
	}
	road := *a.road
	road.Question.Groups = nil
	other := answerer{System: a.System, road: &road, q: a.q}
	e, answer := other.ask(road.Question.Given, allowed, nil)
	if answer != prove.Found {
		return false
	}
	var set []Value
	for _, g := range a.example(&e).Groups {
		set = append(set, Value{Name: "groups", Value: g})
	}
	a.e.Changes = append(a.e.Changes, Change{Set: set})
	return len(set) > 0
}

// anotherState proposes state in place of that which is given.
func (a *answerer) anotherState() bool {
	if len(a.road.Question.Cells) == 0 {
		return false
	}
	road := *a.road
	road.Question.Cells = nil
	other := answerer{System: a.System, road: &road, q: a.q}
	e, answer := other.ask(road.Question.Given, allowed, nil)
	if answer != prove.Found {
		return false
	}
	var set []Value
	for _, c := range e.Cells {
		if v, ok := other.cell(c.Cell, &e); ok {
			v.Any = false
			set = append(set, v)
		}
	}
	a.e.Changes = append(a.e.Changes, Change{Set: set})
	return len(set) > 0
}

// write proposes a change of the policy.
func (a *answerer) write() {
	for _, p := range a.e.Policies {
		if p.Effect == "forbid" {
			a.e.Changes = append(a.e.Changes, Change{Text: fmt.Sprintf("no permit is of use: narrow the forbid %q (%s)", p.ID, p.Source)})
			return
		}
	}
	pkgService, name, _ := strings.Cut(a.q.Method, "/")
	pkg, service := "", pkgService
	if i := strings.LastIndexByte(pkgService, '.'); i >= 0 {
		pkg, service = strings.ReplaceAll(pkgService[:i], ".", "::")+"::", pkgService[i+1:]
	}
	verb, action := "call", service+"."+name
	if a.q.Reply {
		verb, action = "answer", action+".reply"
	}
	if !a.q.Reply && strings.HasPrefix(a.e.From, "user:") && !a.socket() {
		a.e.Changes = append(a.e.Changes, Change{Text: fmt.Sprintf("export it to users in system.yaml: { interface: %s, socket: /run/… }; and then", pkgService)})
	}
	relation, what := "==", service+"."+name
	if a.whole {
		relation, action, what = "in", service, service
	}
	entity := func(who string) string {
		if user, ok := strings.CutPrefix(who, "user:"); ok {
			return "User::" + quoted(user)
		}
		if a.reader(who) != "" {
			return "Object::" + quoted(who)
		}
		return "Domain::" + quoted(plain(who))
	}
	a.e.Changes = append(a.e.Changes, Change{Write: fmt.Sprintf(
		"@id(%s)\npermit (\n  principal == %s,\n  action %s %sAction::%s,\n  resource == %s\n)%s;",
		quoted(fmt.Sprintf("%s may %s %s of %s", strings.TrimPrefix(a.e.From, "user:"), verb, what, strings.TrimPrefix(a.e.To, "user:"))),
		entity(a.e.From), relation, pkg, quoted(action), entity(a.e.To), a.when())})
}

// quoted writes a Cedar string. Names of domains, users and methods have no
// characters that Go and Cedar escape differently.
func quoted(s string) string { return strconv.Quote(s) }

// socket reports whether users can reach the interface at the receiver.
func (a *answerer) socket() bool {
	service, _, _ := strings.Cut(a.q.Method, "/")
	for i := range a.Image.Domains {
		d := &a.Image.Domains[i]
		for _, x := range d.Exports {
			if d.Name == a.e.To && x.Socket != "" && a.Image.Interfaces[x.Interface].Name == service {
				return true
			}
		}
	}
	return false
}

// outOfBounds answers for arguments that no message within the bounds of the
// interface has: it names those that are out of bounds by themselves.
func (a *answerer) outOfBounds() {
	a.e.Verdict, a.e.Check = Deny, "bounds"
	a.e.Why = "no message within the bounds of the interface has these arguments"
	any := func(image.Verdict) bool { return true }
	for _, g := range a.road.Question.Given[a.road.Client:] {
		if _, answer := a.ask([]image.Expr{g}, any, nil); answer != prove.Never {
			continue
		}
		for _, o := range operands(&g, nil) {
			if v, ok := given(&g, o); ok {
				value := Value{Name: a.name(o)}
				if value.Value = strconv.Quote(v.String); !v.IsString {
					value.Value = a.number(o, v.Long)
				}
				a.e.Saw = append(a.e.Saw, value)
				a.e.Why = fmt.Sprintf("the interface has no such %s: %s", value.Name, a.bounds(o))
			}
		}
	}
	a.change()
}

// given is the value that an argument gives a parameter.
func given(e *image.Expr, o image.Operand) (image.Value, bool) {
	if e.Op == image.Eq && e.Left.What == o.What && slices.Equal(e.Left.Path, o.Path) && e.Right.What == image.Constant {
		return e.Right.Value, true
	}
	for i := range e.Args {
		if v, ok := given(&e.Args[i], o); ok {
			return v, true
		}
	}
	return image.Value{}, false
}

// bounds says the bounds of a parameter in words.
func (a *answerer) bounds(o image.Operand) string {
	f := a.Image.FieldAt(a.road.Question.Message, o.Path)
	if f == nil {
		return "it has bounds"
	}
	return Bounds(f, o.What)
}

// Bounds says in words what values a parameter, its size or its count may have.
func Bounds(f *image.Field, what image.What) string {
	if what == image.Count {
		return fmt.Sprintf("%d to %d items", f.MinItems, f.MaxItems)
	}
	var parts []string
	switch f.Type {
	case image.String, image.Bytes:
		parts = append(parts, fmt.Sprintf("%d to %d bytes", f.MinLen, f.MaxLen))
		if f.MaxRunes > 0 {
			parts = append(parts, fmt.Sprintf("%d to %d characters", f.MinRunes, f.MaxRunes))
		}
		if f.Prefix != "" {
			parts = append(parts, "beginning with "+strconv.Quote(f.Prefix))
		}
		if f.Suffix != "" {
			parts = append(parts, "ending with "+strconv.Quote(f.Suffix))
		}
		if f.Class != [2]uint64{} {
			parts = append(parts, "of the characters "+class(f.Class))
		}
		if len(f.In) > 0 {
			parts = append(parts, "one of "+quotedList(f.In))
		}
	case image.Uint32, image.Uint64, image.Fixed32, image.Fixed64:
		if f.HasRange {
			parts = append(parts, fmt.Sprintf("%d to %d", f.Min, f.Max))
		}
	default:
		if f.HasRange {
			parts = append(parts, fmt.Sprintf("%d to %d", int64(f.Min), int64(f.Max)))
		}
	}
	if len(f.Values) > 0 {
		parts = append(parts, "one of "+strings.Trim(strings.ReplaceAll(fmt.Sprint(f.Values), " ", ", "), "[]"))
	}
	if f.Required {
		parts = append(parts, "not left out, and not empty or 0")
	}
	if len(parts) == 0 {
		return "any value of its type"
	}
	return strings.Join(parts, ", ")
}

func quotedList(list []string) string {
	var parts []string
	for _, s := range list[:min(len(list), 8)] {
		parts = append(parts, strconv.Quote(s))
	}
	if len(list) > 8 {
		parts = append(parts, "…")
	}
	return strings.Join(parts, ", ")
}

// class writes a set of ASCII characters as ranges: [a-z0-9-].
func class(set [2]uint64) string {
	var b strings.Builder
	b.WriteByte('[')
	in := func(c int) bool { return c < 128 && set[c/64]>>(c%64)&1 == 1 }
	for c := 0; c < 128; c++ {
		if !in(c) {
			continue
		}
		last := c
		for in(last + 1) {
			last++
		}
		one := func(c int) string { return strings.Trim(strconv.QuoteRune(rune(c)), "'") }
		switch {
		case last == c:
			b.WriteString(one(c))
		case last == c+1:
			b.WriteString(one(c) + one(last))
		default:
			b.WriteString(one(c) + "-" + one(last))
		}
		c = last
	}
	b.WriteByte(']')
	return b.String()
}
