package explain

import (
	"slices"
	"strings"

	"ward/cases"
	"ward/image"
)

// arguments writes what a record says of its message as arguments, and lists the
// parameters of which it has the beginning only. What was not sent is null, or the
// zero value where a message cannot do without.
func (s *System) arguments(q cases.Question, r *Recorded) (args, cut []string) {
	m := s.message(q)
	args, cut = cases.RecordedArgs(s.Image, s.Set, q.Method, q.Reply, r.Params)
	for _, name := range slices.Compact(slices.Sorted(slices.Values(r.Absent))) {
		around := above(name)
		v, ok := s.unsent(m, name)
		if !ok || slices.ContainsFunc(around, func(a string) bool { return !there(args, a) }) {
			continue
		}
		args = slices.DeleteFunc(args, func(arg string) bool {
			return slices.ContainsFunc(around, func(a string) bool { return arg == a+"={}" })
		})
		args = append(args, name+v)
	}
	return args, cut
}

// there reports whether arguments say of a message in the message that it is there.
func there(args []string, name string) bool {
	return slices.ContainsFunc(args, func(a string) bool { return a == name+"={}" || strings.HasPrefix(a, name+".") })
}

// above lists the messages that a parameter is in: of a.b.c, a and a.b. Those of
// metadata are always there.
func above(name string) (all []string) {
	if strings.HasPrefix(name, image.MetadataName+".") {
		return nil
	}
	for i, c := range name {
		if c == '.' {
			all = append(all, name[:i])
		}
	}
	return all
}

// unsent is the argument that says that a parameter was not sent: what comes after
// its name.
func (s *System) unsent(m *image.Message, name string) (value string, ok bool) {
	if strings.HasPrefix(name, image.MetadataName+".") {
		return "=null", true
	}
	f, _ := s.Image.FieldNamed(m, name)
	switch {
	case f == nil:
		return "", false
	case f.Card == image.Optional:
		return "=null", true
	case f.Card == image.Repeated:
		return ".count=0", true
	case f.Type == image.Bytes:
		return ".size=0", true
	case f.Type == image.String:
		return "=", true
	case f.Type == image.Bool:
		return "=false", true
	}
	return "=0", true
}

// markUnsent notes with each value whether its parameter was not sent.
func (e *Explanation) markUnsent(absent []string) {
	mark := func(list []Value) {
		for i := range list {
			name := strings.TrimSuffix(strings.TrimSuffix(list[i].Name, ".count"), ".size")
			list[i].Unsent = slices.Contains(absent, list[i].Name) || slices.Contains(absent, name)
			list[i].Any = list[i].Any && !(list[i].Unsent && list[i].Value == "null") // it is in a message that was not sent
		}
	}
	mark(e.Saw)
	for i := range e.Close {
		for k := range e.Close[i].Missing {
			mark(e.Close[i].Missing[k].Saw)
		}
	}
}
