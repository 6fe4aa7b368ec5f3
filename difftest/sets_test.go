package difftest

import (
	"fmt"
	"strings"

	"ward/image"
)

// What policies ask of elements, of texts beyond their ends, and by large sets.

// elements writes a test of the elements of a repeated field, or of their count.
func (a *author) elements(m *image.Message, f *image.Field, path string) string {
	count := pick(a.r, path+".count"+a.order()+pick(a.r, "0", "1", "2", "3", "5"), path+".values.isEmpty()", "[0, 2].contains("+path+".count)")
	v := path + ".values"
	element := a.number
	switch f.Type {
	case image.Nested, image.Bytes, image.Float, image.Double:
		return count
	case image.Bool:
		element = func() string { return pick(a.r, "true", "false") }
	case image.String:
		element = a.word
	case image.Enum:
		names := a.enum(m, f)
		element = func() string { return fmt.Sprintf("%q", pick(a.r, names...)) }
	}
	large := func() string { return a.some(6, element) }
	if f.Type != image.Bool && f.Type != image.Enum {
		large = func() string { return a.large(element) }
	}
	return pick(a.r, count, v+".contains("+element()+")", v+".contains("+element()+")", v+".containsAny("+a.some(4, element)+")", v+".containsAll("+a.some(2, element)+")",
		a.some(6, element)+".containsAll("+v+")", a.some(6, element)+".containsAll("+v+")", a.some(3, element)+".containsAny("+v+")",
		v+" == "+a.some(2, element), v+" != "+a.some(2, element), large()+".containsAll("+v+")", v+".containsAny("+large()+")")
}

// large writes a set that the filter looks up in a table.
func (a *author) large(element func() string) string {
	all := []string{element(), element(), element()}
	text := strings.HasPrefix(all[0], `"`)
	for i := range 70 {
		if text {
			all = append(all, fmt.Sprintf("%q", strings.Repeat("ab", i%12)+pick(a.r, "", "a", "b", "abc")), fmt.Sprintf("%q", strings.Repeat("w", i)))
		} else {
			all = append(all, fmt.Sprint(i*i*i-30))
		}
	}
	return "[" + strings.Join(all, ", ") + "]"
}

// likes writes a test of a String by a pattern with several parts, or by a large set.
func (a *author) likes(path string) string {
	return pick(a.r, path+` like "a*c"`, path+` like "*b*"`, path+` like "a*b*"`, path+` like "*a*\*"`, path+` like "*é*"`, path+` like "a*a*b"`, path+` like "*aa*b*"`,
		path+` like "ab*b"`, path+` like "*w*w"`, path+` like "*é*é*é*"`, a.large(a.word)+".contains("+path+")")
}
