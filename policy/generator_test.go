package policy_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"ward/image"
)

// generator makes random systems, interfaces, policies and messages. What it
// writes is mostly within the subset.
type generator struct {
	r        *rand.Rand
	domains  []string
	methods  []method
	declared []*stateDecl
	objects  bool // the system has some
	lower    bool // children of domains may be asked for in other rings
}

type method struct {
	action string // pkg::Action::"Service.Method", with or without .reply
	msg    protoreflect.MessageDescriptor
	reply  bool
	user   bool
}

func newGenerator(r *rand.Rand) *generator {
	return &generator{r: r, domains: []string{"ant", "bee", "cow"}[:2+r.IntN(2)]}
}

func (g *generator) chance(n int) bool { return g.r.IntN(n) == 0 }

func pick[T any](g *generator, s ...T) T { return s[g.r.IntN(len(s))] }

var defaultRings = []string{"kernel", "service", "system", "user"}

func (g *generator) system() string {
	var b strings.Builder
	b.WriteString("ward: 1\nname: zoo\ninterfaces: [shop.proto]\npolicy: [policy.cedar]\n" + g.states() + g.sharedObjects() + "domains:\n")
	for i, d := range g.domains {
		ring := g.r.IntN(4)
		fmt.Fprintf(&b, "  %s:\n    program: /bin/%s\n    ring: %s\n", d, d, defaultRings[ring])
		if g.lower && i > 0 {
			fmt.Fprintf(&b, "    lower_rings: [%s]\n", strings.Join(defaultRings[ring+1:], ", "))
		}
		switch {
		case i == 0:
			b.WriteString("    exports: [z.v1.A, { interface: z.v1.B, socket: /run/b.sock }]\n")
		case i == 1 && g.chance(2):
			b.WriteString("    exports: [z.v1.A]\n")
		}
	}
	return b.String()
}

var scalars = []string{"int32", "int64", "uint32", "sint64", "fixed32", "sfixed64", "bool", "bool", "string", "string", "bytes", "E", "F", "double"}

func (g *generator) schema() string {
	var b strings.Builder
	b.WriteString("syntax = \"proto3\";\npackage z.v1;\nimport \"buf/validate/validate.proto\";\n" + g.handleImport() +
		"enum E { NONE = 0; RED = 1; REDDISH = 7; BLUE = -3; }\nenum F { OFF = 0; ON = 1; }\n")
	for i, nested := range []string{"", "M0", "M1", "M1"} {
		fmt.Fprintf(&b, "message M%d {\n", i)
		n := 1
		for range 2 + g.r.IntN(5) {
			t, rule := pick(g, scalars...), ""
			label := pick(g, "", "", "optional ", "repeated ")
			if label == "repeated " {
				rule = " [(buf.validate.field).repeated.max_items = 8]"
				if t == "string" || t == "bytes" {
					rule = " [(buf.validate.field).repeated = {max_items: 8, items: {" + t + ": {max_len: 16}}}]"
				}
			}
			fmt.Fprintf(&b, "  %s%s f%d = %d%s;\n", label, t, n, n, rule)
			n++
		}
		if nested != "" && g.chance(2) {
			fmt.Fprintf(&b, "  %s f%d = %d;\n", nested, n, n)
			n++
		}
		if nested != "" && g.chance(2) {
			fmt.Fprintf(&b, "  %s f%d = %d [(buf.validate.field).required = true];\n", nested, n, n)
			n++
		}
		if g.objects && i == 2 {
			fmt.Fprintf(&b, "  ward.v1.Handle f%d = %d;\n", n, n)
			n++
		}
		if g.chance(2) {
			fmt.Fprintf(&b, "  oneof o { string f%d = %d; uint64 f%d = %d; }\n", n, n, n+1, n+1)
		}
		b.WriteString("}\n")
	}
	b.WriteString("service A { rpc X(M2) returns (M0); rpc Y(M3) returns (M1); }\nservice B { rpc Z(M1) returns (M3); rpc W(M0) returns (M0); }\n" + g.boxService())
	return b.String()
}

// describe notes the methods that policies are about.
func (g *generator) describe(services map[string]protoreflect.ServiceDescriptor) {
	for _, name := range []string{"A", "B"} {
		ms := services["z.v1."+name].Methods()
		for i := range ms.Len() {
			action := fmt.Sprintf(`z::v1::Action::"%s.%s`, name, ms.Get(i).Name())
			g.methods = append(g.methods, method{action + `"`, ms.Get(i).Input(), false, name == "B"},
				method{action + `.reply"`, ms.Get(i).Output(), true, name == "B"})
		}
	}
	g.describeBox(services)
}

func (g *generator) policy() string {
	m := pick(g, g.methods...)
	for m.reply && g.chance(2) {
		m = pick(g, g.methods...)
	}
	client := pick(g, "", "", fmt.Sprintf(` == Domain::"%s"`, pick(g, g.domains...)), fmt.Sprintf(` in Domain::"%s"`, pick(g, g.domains...)), " is Domain")
	user := false
	if m.user && g.chance(2) {
		user = true
		client = pick(g, " is User", ` == User::"alice"`, ` in Group::"wheel"`, ` is User in Group::"staff"`)
	}
	server := pick(g, "", "", fmt.Sprintf(` == Domain::"%s"`, g.domains[0]))
	if strings.Contains(m.action, "C.") {
		server = pick(g, "", ` == Object::"box"`, " is Object", ` in Object::"box"`)
	}
	principal, resource := client, server
	if m.reply {
		principal, resource = server, client
	}
	effect := "permit"
	if g.chance(3) || m.reply && !g.chance(4) {
		effect = "forbid"
	}
	action := " == " + m.action
	if g.chance(8) {
		action = fmt.Sprintf(" in [%s, %s]", m.action, pick(g, g.methods...).action)
	} else if g.chance(8) {
		action = " in " + pick(g, `z::v1::Action::"A"`, `z::v1::Action::"B"`, `ward::Action::"call"`)
	}
	if effect == "permit" && g.chance(2) {
		effect = g.annotations(m) + effect
	}
	s := fmt.Sprintf("%s (principal%s, action%s, resource%s)", effect, principal, action, resource)
	for range g.r.IntN(3) {
		s += " " + pick(g, "when", "when", "unless") + " { " + g.condition(m, user, 3) + " }"
	}
	return s + ";"
}

// condition writes a Bool.
func (g *generator) condition(m method, user bool, depth int) string {
	if depth > 0 && g.chance(2) {
		a, b := g.condition(m, user, depth-1), g.condition(m, user, depth-1)
		switch g.r.IntN(5) {
		case 0, 1:
			return "(" + a + " && " + b + ")"
		case 2:
			return "(" + a + " || " + b + ")"
		case 3:
			return "!(" + a + ")"
		}
		return "(if " + a + " then " + b + " else " + g.condition(m, user, depth-1) + ")"
	}
	if g.chance(5) {
		return g.aboutWho(m, user)
	}
	if g.chance(5) {
		return g.aboutState(m, user)
	}
	return g.aboutField(m.msg, "context")
}

func (g *generator) aboutWho(m method, user bool) string {
	who := "principal"
	if m.reply {
		who = "resource"
	}
	if user {
		return pick(g, who+` == User::"alice"`, who+` in [Group::"wheel", Group::"staff"]`, who+` != User::"bob"`, who+" is User", who+` is User in Group::"wheel"`,
			who+`.name == "carol"`, `[User::"bob", User::"carol"].contains(`+who+`)`, who+` in Group::"staff"`)
	}
	is := who + " is Domain && "
	return "(" + pick(g, is+who+".ring.level < 2", is+who+`.name like "*e*"`, is+"principal.ring.level + 1 > 2", is+who+" in [Domain::\"ant\", Domain::\"bee\"]",
		"action == "+m.action, `action in z::v1::Action::"A"`, is+who+`.label.categories.contains("x")`, is+who+".owner == User::\"root\"",
		`principal in resource`, is+who+` != Domain::"ant"`) + ")"
}

var (
	numbers  = []int64{0, 1, -1, 2, 3, 7, 100, -3, math.MaxInt32, math.MinInt32, math.MaxInt64, math.MinInt64}
	words    = []string{"", "a", "ab", "abc", "b", "*", "é", "abé"}
	enumWord = map[string][]string{"E": {"NONE", "RED", "REDDISH", "BLUE"}, "F": {"OFF", "ON"}, "Kind": {"memory"}}
)

func (g *generator) number() string { return fmt.Sprint(pick(g, numbers...)) }
func (g *generator) word() string   { return `"` + pick(g, words...) + `"` }

// aboutField writes a test of a random field, guarded where it has to be.
func (g *generator) aboutField(m protoreflect.MessageDescriptor, on string) string {
	fd := m.Fields().Get(g.r.IntN(m.Fields().Len()))
	for isOfferNumber(fd) {
		fd = m.Fields().Get(g.r.IntN(m.Fields().Len()))
	}
	path := on + "." + string(fd.Name())
	if fd.HasPresence() && !required(fd) {
		guard := on + " has " + string(fd.Name())
		switch g.r.IntN(4) {
		case 0:
			return guard
		case 1:
			return "(if " + guard + " then " + g.test(fd, path) + " else " + pick(g, "true", "false") + ")"
		}
		return "(" + guard + " && " + g.test(fd, path) + ")"
	}
	return g.test(fd, path)
}

// required: all that the schema marks is messages.
func required(fd protoreflect.FieldDescriptor) bool {
	return fd.Options().ProtoReflect().IsValid() && fd.Kind() == protoreflect.MessageKind
}

func (g *generator) order() string { return pick(g, " < ", " <= ", " > ", " >= ", " == ", " != ") }

func (g *generator) test(fd protoreflect.FieldDescriptor, path string) string {
	if fd.IsList() {
		return g.elements(fd, path)
	}
	switch fd.Kind() {
	case protoreflect.MessageKind:
		return g.aboutField(fd.Message(), path)
	case protoreflect.BoolKind:
		return pick(g, path, "!"+path, path+" == true", path+" != "+pick(g, "true", "false"), "("+path+" == (1 < 2))", "[true].contains("+path+")")
	case protoreflect.BytesKind:
		return path + ".size" + g.order() + pick(g, "0", "1", "4")
	case protoreflect.StringKind:
		return pick(g, g.likes(fd, path), g.likes(fd, path), path+" == "+g.word(), path+" != "+g.word(), path+` like "a*"`, path+` like "*é"`, path+` like "*"`, path+` like "a\*"`, path+` like ""`,
			"["+g.word()+", "+g.word()+", \"x\"].contains("+path+")", "["+path+", \"x\"].containsAny(["+g.word()+", "+g.word()+"])",
			"["+path+"].containsAll(["+g.word()+"])", g.word()+" == "+path, "(if "+path+` == "a" then "b" else "a") == `+g.word())
	case protoreflect.EnumKind:
		names := enumWord[string(fd.Enum().Name())]
		w := func() string { return `"` + pick(g, names...) + `"` }
		return pick(g, path+" == "+w(), path+" != "+w(), path+` like "RED*"`, path+` like "*O*"`, "["+w()+", "+w()+"].contains("+path+")",
			path+" == "+path, "["+path+"].contains("+w()+")")
	case protoreflect.DoubleKind:
		return "true"
	}
	n := g.number()
	return pick(g, path+g.order()+n, path+g.order()+n, n+g.order()+path, "["+n+", "+g.number()+", 1].contains("+path+")", path+g.order()+path,
		"(if "+path+" < 3 then 1 else "+n+")"+g.order()+path, path+g.order()+"(1 + 2 * 3)", "["+path+", "+n+"].containsAll([1, 2])")
}

// fill sets random fields, within the bounds of the interface.
func (g *generator) fill(m *dynamicpb.Message, depth int) {
	if m.Descriptor().FullName() == image.HandleName {
		g.fillHandle(m)
		return
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if g.chance(3) && !required(fd) {
			continue
		}
		switch {
		case fd.IsList():
			l := m.Mutable(fd).List()
			for range g.r.IntN(4) {
				l.Append(g.value(fd))
			}
		case fd.Kind() == protoreflect.MessageKind:
			g.fill(m.Mutable(fd).Message().Interface().(*dynamicpb.Message), depth+1)
		default:
			m.Set(fd, g.value(fd)) // of a oneof, the last one wins
		}
	}
}

func (g *generator) value(fd protoreflect.FieldDescriptor) protoreflect.Value {
	n := pick(g, numbers...)
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(g.chance(2))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(pick(g, words...))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(make([]byte, g.r.IntN(6)))
	case protoreflect.EnumKind:
		vs := fd.Enum().Values()
		return protoreflect.ValueOfEnum(vs.Get(g.r.IntN(vs.Len())).Number())
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(n))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(uint64(n) & math.MaxInt64)
	}
	return protoreflect.ValueOfInt64(n)
}
