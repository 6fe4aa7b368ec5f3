package policy_test

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// What the generator asks of elements and of texts beyond their ends.

// set writes a set of one to n constants that elements of fd can be.
func (g *generator) set(fd protoreflect.FieldDescriptor, n int) string {
	var all []string
	for range 1 + g.r.IntN(n) {
		all = append(all, g.constant(fd))
	}
	return "[" + strings.Join(all, ", ") + "]"
}

// constant writes what an element of fd can be.
func (g *generator) constant(fd protoreflect.FieldDescriptor) string {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return pick(g, "true", "false")
	case protoreflect.StringKind:
		return g.word()
	case protoreflect.EnumKind:
		return `"` + pick(g, enumWord[string(fd.Enum().Name())]...) + `"`
	}
	return g.number()
}

// elements writes a test of the elements of a repeated field, or of their count.
func (g *generator) elements(fd protoreflect.FieldDescriptor, path string) string {
	count := []string{path + ".count" + g.order() + pick(g, "0", "1", "3"), path + ".values.isEmpty()", "[0, 2].contains(" + path + ".count)"}
	switch fd.Kind() {
	case protoreflect.MessageKind, protoreflect.BytesKind, protoreflect.DoubleKind, protoreflect.FloatKind:
		return pick(g, count...)
	}
	v := path + ".values"
	c := func() string { return g.constant(fd) }
	return pick(g, pick(g, count...), v+".contains("+c()+")", v+".contains("+c()+")", v+".containsAny("+g.set(fd, 3)+")", v+".containsAll("+g.set(fd, 2)+")",
		g.set(fd, 4)+".containsAll("+v+")", g.set(fd, 4)+".containsAll("+v+")", g.set(fd, 3)+".containsAny("+v+")", v+" == "+g.set(fd, 2), g.set(fd, 2)+" != "+v,
		fmt.Sprintf("%s.contains(if principal == resource then %s else %s)", v, c(), c()),
		g.large(fd)+".containsAll("+v+")")
}

// large writes a set that is too large for code.
func (g *generator) large(fd protoreflect.FieldDescriptor) string {
	if fd.Kind() == protoreflect.EnumKind || fd.Kind() == protoreflect.BoolKind {
		return g.set(fd, 4)
	}
	all := []string{g.constant(fd), g.constant(fd)}
	for i := range 70 {
		if fd.Kind() == protoreflect.StringKind {
			all = append(all, fmt.Sprintf("%q", strings.Repeat("ab", i%9)+pick(g, "", "b", "abc")), fmt.Sprintf("\"%d\"", i))
		} else {
			all = append(all, fmt.Sprint(i*i-9))
		}
	}
	return "[" + strings.Join(all, ", ") + "]"
}

// likes writes a test of a String by a pattern with several parts, or by a large set.
func (g *generator) likes(fd protoreflect.FieldDescriptor, path string) string {
	return pick(g, path+` like "a*c"`, path+` like "*b*"`, path+` like "a*b*"`, path+` like "*a*\*"`, path+` like "*é*"`, path+` like "a*a*c"`, path+` like "**b*"`,
		path+` like "ab*b"`, g.large(fd)+".contains("+path+")", "(if "+path+` like "*c*" then `+path+` like "*a*" else `+path+` == "b")`)
}
