package policy

import (
	"strings"

	"ward/policy/internal/syntax"
)

func (k *checker) like(e *syntax.Expr, t *typ) *typ {
	if !k.want(e.Args[0], t, text) {
		return boolType
	}
	if k.user(e) {
		return k.outside(e, `compare with users by name: principal == User::"…"`, "a user is not known when the policy is compiled")
	}
	if !k.symbolic(e) || t.names != nil && t.names.numbers != nil {
		return boolType
	}
	return k.pattern(e)
}

func (k *checker) method(e *syntax.Expr, t []*typ) *typ {
	if e.Name == "hasTag" || e.Name == "getTag" {
		k.errorf(e, e.Pos, "use attributes", "no entity of a system has tags")
		return anyType
	}
	if !k.want(e.Args[0], t[0], set) {
		return boolType
	}
	elem := t[0].elem
	switch e.Name {
	case "isEmpty":
		if k.symbolic(e) && !k.isElements(e.Args[0]) && e.Args[0].Op != syntax.Set {
			return k.outside(e, elementsFix, "a set chosen by a parameter")
		}
		return boolType
	case "contains":
		if !compatible(elem, t[1]) {
			k.errorf(e, e.Args[1].Start(), elementFix(elem), "type mismatch: %s, but %s", k.describe(e.Args[0], t[0]), k.describe(e.Args[1], t[1]))
			return boolType
		}
		k.closedSets(e, elem, t[1])
	default:
		if !k.want(e.Args[1], t[1], set) {
			return boolType
		}
		if !compatible(t[0], t[1]) {
			k.errorf(e, e.Args[1].Start(), elementFix(elem), "type mismatch: %s, but %s", k.describe(e.Args[0], t[0]), k.describe(e.Args[1], t[1]))
			return boolType
		}
		k.closedSets(e, elem, t[1].elem)
	}
	return k.decidable(e, t)
}

func (k *checker) closedSets(e *syntax.Expr, l, r *typ) {
	if l.names != nil {
		k.closedWorld(e.Args[1], l.names)
	}
	if r.names != nil {
		k.closedWorld(e.Args[0], r.names)
	}
}

// decidable checks that a method of sets is within the subset: each set is
// constant or written out, and no two String parameters are compared.
func (k *checker) decidable(e *syntax.Expr, t []*typ) *typ {
	if k.user(e) {
		if e.Name == "contains" && k.isUser(e.Args[1]) && k.constant(e.Args[0]) {
			return boolType
		}
		return k.outside(e, `write principal in [User::"…", User::"…"]`, "a user is not known when the policy is compiled")
	}
	if !k.symbolic(e) {
		return boolType
	}
	elem := t[0].elem
	sets := e.Args
	if e.Name == "contains" {
		sets = e.Args[:1]
	}
	for _, s := range sets {
		if k.isElements(s) {
			return k.ofElements(e, elem)
		}
	}
	if elem.kind == record || elem.kind == set {
		return k.outside(e, "compare the attributes one by one", "a set of records")
	}
	if elem.kind == text && k.symbolic(e.Args[0]) && k.symbolic(e.Args[1]) {
		return k.outside(e, `compare each with constants: context.x == "a" && context.y == "a"`, "two String parameters compared with each other")
	}
	return boolType
}

func (k *checker) setOf(e *syntax.Expr, t []*typ) *typ {
	if len(t) == 0 {
		k.errorf(e, e.Pos, "write what it contains", "an empty set has no type")
		return anyType
	}
	elem := t[0]
	for i, x := range t {
		if elem.kind == anyKind {
			elem = x
		}
		if !compatible(elem, x) || elem.kind == entity && x.kind == entity && elem.name != x.name && !isActionType(elem.name) {
			k.errorf(e, e.Args[i].Start(), "write one set for each type", "elements of different types: %s, but %s",
				k.describe(e.Args[0], t[0]), k.describe(e.Args[i], x))
			return anyType
		}
		if k.user(e.Args[i]) {
			return k.outside(e, "compare the user with constants", "a user is not known when the policy is compiled")
		}
		if x.names != nil {
			elem = x
		}
	}
	return &typ{kind: set, elem: elem}
}

func (k *checker) recordOf(e *syntax.Expr, t []*typ) *typ {
	if k.symbolic(e) || k.user(e) {
		return k.outside(e, "compare the attributes one by one", "a record made of parameters")
	}
	r := recordType("record")
	for i, key := range e.Keys {
		r.rec.add(&attr{name: key, typ: t[i]})
	}
	return r
}

// signatures of the functions of Cedar's extension types: arguments and result.
var signatures = map[string][]string{
	"ip": {"String", "ipaddr"}, "decimal": {"String", "decimal"}, "datetime": {"String", "datetime"}, "duration": {"String", "duration"},
	"lessThan": {"decimal", "decimal", "Bool"}, "lessThanOrEqual": {"decimal", "decimal", "Bool"},
	"greaterThan": {"decimal", "decimal", "Bool"}, "greaterThanOrEqual": {"decimal", "decimal", "Bool"},
	"isIpv4": {"ipaddr", "Bool"}, "isIpv6": {"ipaddr", "Bool"}, "isLoopback": {"ipaddr", "Bool"}, "isMulticast": {"ipaddr", "Bool"},
	"isInRange": {"ipaddr", "ipaddr", "Bool"},
	"toDate":    {"datetime", "datetime"}, "toTime": {"datetime", "duration"}, "offset": {"datetime", "duration", "datetime"},
	"durationSince": {"datetime", "datetime", "duration"},
	"toDays":        {"duration", "Long"}, "toHours": {"duration", "Long"}, "toMinutes": {"duration", "Long"},
	"toSeconds": {"duration", "Long"}, "toMilliseconds": {"duration", "Long"},
}

// constructors of the extension types.
var constructors = map[string]string{"ipaddr": "ip", "decimal": "decimal", "datetime": "datetime", "duration": "duration"}

var basic = map[string]*typ{"String": textType, "Bool": boolType, "Long": longType}

// shape is how a function is called.
func shape(name string) string {
	args := signatures[name][:len(signatures[name])-1]
	if args[0] == "String" {
		return name + `("…")`
	}
	return args[0] + "." + name + "(" + strings.Join(args[1:], ", ") + ")"
}

func (k *checker) call(e *syntax.Expr, t []*typ) *typ {
	sig := signatures[e.Name]
	if len(t) != len(sig)-1 {
		k.errorf(e, e.Pos, "write "+shape(e.Name), "%s takes %d argument(s)", e.Name, len(sig)-1)
		return anyType
	}
	for i, want := range sig[:len(sig)-1] {
		if t[i].String() != want {
			fix := "write " + shape(e.Name)
			if of := constructors[want]; of != "" && t[i].kind == text {
				fix = "write " + of + `("…")`
			}
			k.errorf(e, e.Args[i].Start(), fix, "%s, where a %s is expected", k.describe(e.Args[i], t[i]), want)
			return anyType
		}
	}
	if k.symbolic(e) || k.user(e) {
		return k.outside(e, "decide on numbers: milliseconds, an address as bytes", e.Name+" on a parameter")
	}
	// The argument of a constructor is a literal, so that it cannot fail at run time.
	if len(sig) == 2 && sig[0] == "String" && e.Args[0].Op != syntax.String {
		return k.outside(e, "write the text itself", e.Name+" of something that is not a literal")
	}
	res := sig[len(sig)-1]
	if b, ok := basic[res]; ok {
		return b
	}
	return &typ{kind: extension, name: res}
}
