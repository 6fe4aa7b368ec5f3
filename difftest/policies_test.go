package difftest

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"ward/image"
	"ward/interfaces"
)

// An act is what a policy of calls can be about.
type act struct {
	action  string // pkg::Action::"Service.Method", with or without .reply
	message uint32
	reply   bool
	user    bool
}

// author writes policies about the messages of a set.
type author struct {
	*generator
	set  *interfaces.Set
	acts []act
}

func newAuthor(g *generator, set *interfaces.Set) *author {
	a := &author{generator: g, set: set}
	for _, f := range set.Interfaces {
		pkg, service := f.Name[:strings.LastIndex(f.Name, ".")], f.Name[strings.LastIndex(f.Name, ".")+1:]
		if pkg != "z.v1" {
			continue
		}
		for _, m := range f.Methods {
			action := fmt.Sprintf(`z::v1::Action::"%s.%s`, service, m.Name)
			a.acts = append(a.acts, act{action + `"`, m.Request, false, service == "B"}, act{action + `.reply"`, m.Reply, true, service == "B"})
		}
	}
	return a
}

func (a *author) domain() string { return `Domain::"` + pick(a.r, a.domains...) + `"` }

// policy writes one policy; n makes its ID.
func (a *author) policy(n int) string {
	audit := ""
	if a.chance(5) {
		audit = `@audit("allow") `
	}
	head := fmt.Sprintf(`@id("p%d") %s`, n, audit)
	if a.chance(8) {
		return fmt.Sprintf(`@id("p%d") `, n) + a.own()
	}
	if a.chance(16) {
		return fmt.Sprintf(`@id("p%d") %s (principal%s, action, resource%s) when { %s };`, n, pick(a.r, "permit", "forbid", "forbid"),
			pick(a.r, "", " is Domain", " == "+a.domain()), pick(a.r, "", " is Domain", " == "+a.domain()), a.aboutWho(act{action: a.acts[0].action}, false))
	}
	t := pick(a.r, a.acts...)
	for t.reply && a.chance(2) {
		t = pick(a.r, a.acts...)
	}
	client := pick(a.r, "", "", "", " == "+a.domain(), " in "+a.domain(), " is Domain")
	user := false
	if t.user && a.chance(2) {
		user = true
		client = pick(a.r, " is User", ` == User::"alice"`, ` in Group::"wheel"`, ` is User in Group::"staff"`)
	}
	principal, resource := client, pick(a.r, "", "", ` == Domain::"`+a.domains[0]+`"`)
	if t.reply {
		principal, resource = resource, principal
	}
	effect := "permit"
	if a.chance(3) || t.reply && !a.chance(4) {
		effect, head = "forbid", fmt.Sprintf(`@id("p%d") `, n)
	}
	if effect == "permit" {
		head += a.effects(false)
	}
	action := " == " + t.action
	if a.chance(8) {
		action = fmt.Sprintf(" in [%s, %s]", t.action, pick(a.r, a.acts...).action)
	} else if a.chance(8) {
		action = " in " + pick(a.r, `z::v1::Action::"A"`, `z::v1::Action::"B"`, `ward::Action::"call"`)
	}
	s := fmt.Sprintf("%s%s (principal%s, action%s, resource%s)", head, effect, principal, action, resource)
	for range a.r.IntN(3) {
		s += " " + pick(a.r, "when", "when", "unless") + " { " + a.condition(t, user, a.r.IntN(4)) + " }"
	}
	return s + ";"
}

// own writes a policy on one of Ward's actions that the name server's filter enforces.
func (a *author) own() string {
	action := pick(a.r, "publish", "lookup")
	principal, resource := pick(a.r, "", " == "+a.domain()), ""
	if action == "lookup" {
		resource = pick(a.r, "", " == "+a.domain())
	}
	when := pick(a.r, "", ` when { context.interface == "z.v1.A" }`, ` when { context.interface like "*.B" }`, ` unless { context.interface == "z.v1.A" }`)
	return fmt.Sprintf(`%s (principal%s, action == ward::Action::"%s", resource%s)%s;`, pick(a.r, "permit", "forbid"), principal, action, resource, when)
}

// condition writes a Bool.
func (a *author) condition(t act, user bool, depth int) string {
	if depth > 0 && a.chance(2) {
		x, y := a.condition(t, user, depth-1), a.condition(t, user, depth-1)
		switch a.r.IntN(5) {
		case 0, 1:
			return "(" + x + " && " + y + ")"
		case 2:
			return "(" + x + " || " + y + ")"
		case 3:
			return "!(" + x + ")"
		}
		return "(if " + x + " then " + y + " else " + a.condition(t, user, depth-1) + ")"
	}
	if a.chance(6) {
		return a.aboutWho(t, user)
	}
	if len(a.states) > 0 && a.chance(4) {
		return a.aboutState(t, user)
	}
	if a.chance(5) {
		return a.aboutMetadata(t)
	}
	return a.aboutField(t.message, "context")
}

func (a *author) aboutWho(t act, user bool) string {
	who := "principal"
	if t.reply {
		who = "resource"
	}
	if user {
		return pick(a.r, who+` == User::"alice"`, who+` in [Group::"wheel", Group::"staff"]`, who+` != User::"bob"`, who+" is User", who+` is User in Group::"wheel"`,
			who+`.name == "carol"`, who+` in Role::"reader"`, `[User::"bob", User::"carol"].contains(`+who+`)`, who+` in Group::"staff"`)
	}
	is := who + " is Domain && "
	return "(" + pick(a.r, is+who+".ring.level < 2", is+who+`.name like "*e*"`, is+who+".ring.level + 1 > 2", is+who+" in ["+a.domain()+", "+a.domain()+"]",
		"action == "+t.action, `action in z::v1::Action::"A"`, is+who+`.label.categories.contains("x")`, is+who+".owner == User::\"root\"",
		`principal in resource`, is+who+" != "+a.domain(), is+who+`.ring.name == "user"`, is+who+` in Role::"reader"`, is+who+".label.integrity < 2", is+who+".label.level == 1", is+who+`.ring.above.contains("service")`) + ")"
}

var (
	numbers = []int64{0, 1, -1, 2, 3, 4, 6, 7, 8, 100, 101, -3, 1000000, math.MaxInt32, math.MinInt32, math.MaxUint32, math.MaxInt64, math.MinInt64}
	words   = []string{"", "a", "ab", "abc", "b", "*", "é", "abé", "www", "aab", "ww", "acb", strings.Repeat("a", 61) + "b", `a"b`, `a\b`, "a\n", strings.Repeat("é", 40)}
)

var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "é", `\u{e9}`)

func (a *author) word() string {
	w := pick(a.r, words...)
	if a.chance(2) || strings.ContainsAny(w, "\"\\\n") {
		w = escape.Replace(w)
	}
	return `"` + w + `"`
}

// member writes a field of a record: names that are words of Cedar in brackets.
func member(on, name string) string {
	if slices.Contains(odd, name) {
		return fmt.Sprintf("%s[%q]", on, name)
	}
	return on + "." + name
}

// some writes a set of up to n elements.
func (a *author) some(n int, element func() string) string {
	var all []string
	for range 1 + a.r.IntN(n) {
		all = append(all, element())
	}
	return "[" + strings.Join(all, ", ") + "]"
}

func (a *author) number() string { return fmt.Sprint(pick(a.r, numbers...)) }
func (a *author) order() string  { return pick(a.r, " < ", " <= ", " > ", " >= ", " == ", " != ") }

// aboutField writes a test of a random field, guarded where it has to be.
func (a *author) aboutField(message uint32, on string) string {
	m := &a.set.Messages[message]
	if len(m.Fields) == 0 {
		return "true"
	}
	if m.Name == image.HandleName {
		return a.aboutHandle(on)
	}
	f := &m.Fields[a.r.IntN(len(m.Fields))]
	path := member(on, f.Name)
	if f.Card != image.Optional || f.Required {
		return a.test(m, f, path)
	}
	guard := on + " has " + f.Name
	if slices.Contains(odd, f.Name) {
		guard = fmt.Sprintf("%s has %q", on, f.Name)
	}
	switch a.r.IntN(4) {
	case 0:
		return guard
	case 1:
		return "(if " + guard + " then " + a.test(m, f, path) + " else " + pick(a.r, "true", "false") + ")"
	}
	return "(" + guard + " && " + a.test(m, f, path) + ")"
}

func (a *author) test(m *image.Message, f *image.Field, path string) string {
	r := a.r
	if f.Card == image.Repeated {
		return a.elements(m, f, path)
	}
	switch f.Type {
	case image.Nested:
		return a.aboutField(f.Message, path)
	case image.Bool:
		return pick(r, path, "!"+path, path+" == true", path+" != "+pick(r, "true", "false"), "("+path+" == (1 < 2))", "[true].contains("+path+")")
	case image.Bytes:
		return path + ".size" + a.order() + pick(r, "0", "1", "3", "4")
	case image.String:
		return pick(r, a.likes(path), a.likes(path), a.likes(path), path+" == "+a.word(), path+" != "+a.word(), path+` like "a*"`, path+` like "a*"`, path+` like "ab*"`, path+` like "*é"`, path+` like "*b"`, path+` like "*"`, path+` like "a\*"`, path+` like ""`,
			a.some(12, a.word)+".contains("+path+")", "["+path+", \"x\"].containsAny(["+a.word()+", "+a.word()+"])",
			"["+path+"].containsAll(["+a.word()+"])", a.word()+" == "+path, "(if "+path+` == "a" then "b" else "a") == `+a.word(), path+` like "aaaa*"`)
	case image.Enum:
		names := a.enum(m, f)
		w := func() string { return `"` + pick(r, names...) + `"` }
		return pick(r, path+" == "+w(), path+" != "+w(), path+` like "RED*"`, path+` like "*O*"`, "["+w()+", "+w()+"].contains("+path+")",
			path+" == "+path, "["+path+"].contains("+w()+")")
	case image.Float, image.Double:
		return "true"
	}
	n := a.number()
	return pick(r, a.large(a.number)+".contains("+path+")", path+a.order()+n, path+a.order()+n, n+a.order()+path, a.some(16, a.number)+".contains("+path+")", path+a.order()+a.other(m, f, path),
		"(if "+path+" < 3 then 1 else "+n+")"+a.order()+path, path+a.order()+"(1 + 2 * 3)", "["+path+", "+n+"].containsAll([1, 2])")
}

// other is another number of the message, or the same.
func (a *author) other(m *image.Message, f *image.Field, path string) string {
	for i := range m.Fields {
		o := &m.Fields[i]
		if o.Type <= image.Sfixed64 && o.Card == image.Implicit && a.chance(2) {
			return member(strings.TrimSuffix(path, member("", f.Name)), o.Name)
		}
	}
	return path
}

func (a *author) enum(m *image.Message, f *image.Field) []string {
	i := slices.IndexFunc(a.set.Messages, func(x image.Message) bool { return x.Name == m.Name })
	fd := a.set.MessageTypes[i].Fields().ByNumber(protoreflect.FieldNumber(f.Number))
	return enums[string(fd.Enum().Name())]
}
