package difftest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// A generator makes random systems. What it writes is mostly within what Ward accepts.
type generator struct {
	r       *rand.Rand
	domains []string
	uses    []string        // models
	states  []declaredState // that policies may name
	handles bool            // a message may carry a handle
}

func (g *generator) chance(n int) bool { return g.r.IntN(n) == 0 }

func pick[T any](r *rand.Rand, s ...T) T { return s[r.IntN(len(s))] }

// groups of the users outside: what the host says of them.
var userGroups = map[string][]string{"alice": {"wheel", "staff"}, "bob": {"staff"}, "carol": {"wheel"}, "dave": nil}

var users = []string{"alice", "bob", "carol", "dave"}

// system writes the domains.
func (g *generator) system() []string {
	names := []string{"ant", "bee", "cow", "dog"}
	g.domains = names[:2+g.r.IntN(3)]
	var lines []string
	for i, d := range g.domains {
		var keys []string
		keys = append(keys, "program: /bin/"+d, "ring: "+pick(g.r, ringNames...))
		keys = append(keys, g.keys()...)
		var exports []string
		if i == 0 || g.chance(3) {
			exports = append(exports, g.export("z.v1.A", ""))
		}
		if i == 0 {
			exports = append(exports, g.export("z.v1.B", "/run/b.sock"))
		} else if g.chance(4) {
			exports = append(exports, g.export("z.v1.B", ""))
		}
		if len(exports) > 0 {
			keys = append(keys, "exports: ["+strings.Join(exports, ", ")+"]")
		}
		lines = append(lines, "  "+d+": {"+strings.Join(keys, ", ")+"}")
	}
	return lines
}

var scalars = []string{"int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64", "sfixed32", "sfixed64",
	"bool", "bool", "string", "string", "string", "string", "bytes", "bytes", "E", "F", "G", "H", "float", "double"}

var enums = map[string][]string{"E": {"NONE", "RED", "REDDISH", "BLUE"}, "F": {"OFF", "ON"}, "G": {"G0", "LOW", "HIGH", "TOP"}, "H": {"H0", "ONE", "TWO"}}

const protoHead = `syntax = "proto3";
package z.v1;
import "buf/validate/validate.proto";
enum E { NONE = 0; RED = 1; REDDISH = 7; BLUE = -3; }
enum F { OFF = 0; ON = 1; }
enum G { G0 = 0; LOW = -100000; HIGH = 1000; TOP = 2147483647; }
enum H { option allow_alias = true; H0 = 0; ONE = 1; FIRST = 1; TWO = 2; }`

// odd are names of fields that mean something elsewhere, one for each of the
// first numbers.
var odd = []string{"of", "in", "if", "like", "has", "is", "then", "else", "size", "count", "values", "principal", "action", "context", "true", "when"}

// messages of the schema; a message nests those before it.
const messages = 6

// schema writes the interfaces.
func (g *generator) schema() []string {
	lines := strings.Split(protoHead, "\n")
	carrier := -1
	if g.handles { // what nests it would have several: few may
		carrier = messages - pick(g.r, 1, 1, 2)
		lines = slices.Insert(lines, 3, `import "ward/v1/handle.proto";`)
	}
	for i := range messages {
		lines = append(lines, fmt.Sprintf("message M%d {", i))
		if i > 0 || !g.chance(3) { // M0 may be empty
			lines = append(lines, g.fields(i)...)
		}
		if i == carrier {
			lines = append(lines, fmt.Sprintf("  %sward.v1.Handle handle = %d%s;", pick(g.r, "", "optional "), pick(g.r, 2000, 2001, 5000), pick(g.r, "", " [(buf.validate.field).required = true]")))
		}
		lines = append(lines, "}")
	}
	stream := func() string { return pick(g.r, "", "", "stream ") }
	for _, s := range []string{"A", "B"} {
		lines = append(lines, "service "+s+" {")
		for _, m := range []string{"X", "Y", "Z"}[:2+g.r.IntN(2)] {
			lines = append(lines, fmt.Sprintf("  rpc %s(%sM%d) returns (%sM%d);", m, stream(), g.r.IntN(messages), stream(), g.r.IntN(messages)))
		}
		lines = append(lines, "}")
	}
	return lines
}

func (g *generator) fields(i int) []string {
	n := 1
	gap := func() { n++ }
	switch g.r.IntN(4) {
	case 0: // field numbers that are far from each other
		n = 1 + g.r.IntN(6)
		gap = func() { n += 1 + g.r.IntN(200) }
	case 1: // holes
		gap = func() { n += 1 + g.r.IntN(3) }
	}
	var lines []string
	add := func(format string, args ...any) {
		line := fmt.Sprintf(format, args...)
		if g.chance(8) { // a word of Cedar, or of the context
			line = strings.Replace(line, fmt.Sprintf(" f%d ", n), " "+odd[n%len(odd)]+" ", 1)
			if n >= len(odd) {
				line = fmt.Sprintf(format, args...)
			}
		}
		lines = append(lines, "  "+line)
		gap()
	}
	for range 2 + g.r.IntN(6) {
		t := pick(g.r, scalars...)
		switch label := pick(g.r, "", "", "optional ", "repeated "); label {
		case "repeated ":
			least := pick(g.r, "", "", "min_items: 1, ", "min_items: 2, ")
			add("repeated %s f%d = %d [(buf.validate.field)%s = {repeated: {%smax_items: %d%s}}];", t, n, n, "", least, 2+g.r.IntN(7), g.items(t))
		default:
			add("%s%s f%d = %d%s;", label, t, n, n, g.options(g.rule(t, false)))
		}
	}
	for range g.r.IntN(3) {
		if i == 0 {
			break
		}
		t := fmt.Sprintf("M%d", g.r.IntN(i))
		switch g.r.IntN(4) {
		case 0:
			add("repeated %s f%d = %d [(buf.validate.field).repeated = {max_items: %d}];", t, n, n, 1+g.r.IntN(3))
		case 1:
			add("%s f%d = %d [(buf.validate.field).required = true];", t, n, n)
		default:
			add("%s f%d = %d;", t, n, n)
		}
	}
	if g.chance(2) {
		option := ""
		if g.chance(3) {
			option = "option (buf.validate.oneof).required = true; "
		}
		a, b := n, 0
		gap()
		b = n
		t, u := pick(g.r, scalars...), pick(g.r, scalars...)
		add("oneof o { %s%s f%d = %d%s; %s f%d = %d%s; }", option, t, a, a, g.options(g.rule(t, false)), u, b, b, g.options(g.rule(u, false)))
	}
	g.r.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	return lines
}

func (g *generator) options(rule string) string {
	if g.chance(9) {
		rule = strings.TrimPrefix(rule+", required: true", ", ")
	}
	if rule == "" {
		return ""
	}
	return " [(buf.validate.field) = {" + rule + "}]"
}

// items are the rules of elements.
func (g *generator) items(t string) string {
	if rule := g.rule(t, true); rule != "" {
		return ", items: {" + rule + "}"
	}
	return ""
}

// rule writes random bounds of a type that some value satisfies.
func (g *generator) rule(t string, short bool) string {
	r := g.r
	if enums[t] != nil {
		if !g.chance(4) {
			return ""
		}
		return pick(r, "enum: {defined_only: true}", "enum: {in: [0, "+map[string]string{"E": "7", "F": "1", "G": "1000", "H": "2"}[t]+"]}", "enum: {not_in: [1]}", "enum: {not_in: [0]}")
	}
	body := ""
	switch t {
	case "bool":
		if !g.chance(12) {
			return ""
		}
		body = pick(r, "const: true", "const: false")
	case "string":
		switch r.IntN(9) {
		case 0:
			body = pick(r, "min_len: 1, max_len: 3", "max_len: 2", "min_len: 2, max_bytes: 9", "len: 2", "len_bytes: 3")
		case 1:
			body = pick(r, "in: ['a', 'ab', '']", "in: ['abc', 'b', 'www']", "const: 'ab'")
		case 2:
			body = pick(r, "prefix: 'a', max_bytes: 40", "suffix: 'b', max_bytes: 40", "prefix: 'a', suffix: 'b', max_bytes: 100")
		case 3:
			body = pick(r, "pattern: '^[a-z0-9-]+$', max_len: 20", "pattern: '^[a-c]*$', max_len: 80", "pattern: '^[a-z]{1,3}$'")
		case 4, 5:
			body = pick(r, "max_bytes: 200", "max_bytes: 64", "min_bytes: 60, max_bytes: 70")
		default:
			body = "max_bytes: 16"
		}
		if !short && g.chance(4) {
			return ""
		}
	case "bytes":
		body = pick(r, "max_len: 16", "min_len: 1, max_len: 4", "len: 3", "in: ['a', 'abc']", "prefix: 'ab', max_len: 30", "suffix: 'c', max_len: 30")
		if !short && g.chance(3) {
			return ""
		}
	case "float", "double":
		if g.chance(2) {
			return ""
		}
		body = pick(r, "gte: -1, lte: 7", "gt: 0", "lt: 3", "finite: true", "gte: 0.1, lt: 2.5", "lte: -1", "const: 1")
	default:
		if g.chance(2) {
			return ""
		}
		if strings.HasPrefix(t, "u") || strings.HasPrefix(t, "f") {
			body = pick(r, "lte: 7", "gt: 0, lt: 101", "gte: 2", "in: [0, 1, 7, 100]", "in: [1, 3, 1000000]", "lt: 3", "const: 7", "gte: 1, lte: 2147483647", "in: [2, 3, 4]")
		} else {
			body = pick(r, "lte: 7", "gt: -3, lt: 101", "gte: 2", "in: [-3, 0, 7, 100]", "in: [-1000000, 1, 3]", "lt: 3", "const: -3", "gte: -2147483648, lte: -1", "in: [-1, 0, 1]")
		}
	}
	return t + ": {" + body + "}"
}
