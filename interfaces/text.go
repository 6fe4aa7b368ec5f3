package interfaces

import (
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"

	"ward/abi"
)

// lengths are bounds of a string or bytes, while they are collected.
type lengths struct {
	min, max           uint64 // bytes
	minRunes, maxRunes uint64
	equal              *string
	in                 []string
}

// Limits of what a filter compares one field with.
const (
	maxInText  = 1024     // values of `in` of a string or bytes
	maxInBytes = 16 << 10 // bytes of these values, prefix and suffix together
)

// anyLength stands for no upper bound.
const anyLength = math.MaxUint64

// text reads the rules of a string or bytes.
func (r *rules) text(typed protoreflect.Message, kind string) {
	f := r.f
	l := lengths{max: anyLength, maxRunes: anyLength}
	each(typed, func(name string, v protoreflect.Value) {
		if kind == "string" && r.stringRule(&l, name, v) || kind == "bytes" && r.bytesRule(&l, name, v) {
			return
		}
		if b, ok := v.Interface().(bool); ok && !b {
			return // email: false and the like
		}
		switch name {
		case "strict": // of well_known_regex
		case "pattern":
			r.unenforced(kind + ".pattern " + strconv.Quote(v.String()))
		default:
			r.unenforced(kind + "." + name)
		}
	})
	if !r.oneOf(&l) {
		r.unsat = true
		return
	}
	total := len(f.Prefix) + len(f.Suffix)
	for _, s := range f.In {
		total += len(s)
	}
	if len(f.In) > maxInText || total > maxInBytes {
		r.refuse("use fewer or shorter values, an enum, or a pattern", "its rules compare it with %d values, %d bytes in all; the limits are %d and %d",
			len(f.In), total, maxInText, maxInBytes)
		return
	}
	// A character has 1 to 4 bytes.
	l.min = max(l.min, l.minRunes, uint64(len(f.Prefix)), uint64(len(f.Suffix)))
	if l.maxRunes != anyLength {
		perRune := uint64(utf8.UTFMax)
		if f.Class != [2]uint64{} {
			perRune = 1
		}
		l.max = min(l.max, mul(l.maxRunes, perRune))
	}
	if l.max == anyLength {
		l.max, f.Default = abi.DefaultMaxBytes, true
		if l.min > l.max {
			r.refuse("state the largest length, too", "at least %d bytes, but Ward's default allows %d", l.min, l.max)
			return
		}
	}
	r.unsat = r.unsat || l.min > l.max || l.minRunes > l.maxRunes
	f.MinLen, f.MaxLen = clamp(l.min), clamp(l.max)
	if f.Class == [2]uint64{} { // else all characters are ASCII, and the lengths in bytes say it
		f.MinRunes = clamp(l.minRunes)
		if l.maxRunes != anyLength { // 0: so does MaxLen
			f.MaxRunes = clamp(l.maxRunes)
		}
	}
}

// oneOf combines const and in, and takes the lengths of what is left. It
// reports false if nothing is.
func (r *rules) oneOf(l *lengths) bool {
	list := l.in
	if l.equal != nil {
		if l.in != nil && !slices.Contains(l.in, *l.equal) {
			return false
		}
		list = []string{*l.equal}
	}
	if list == nil {
		return true
	}
	slices.Sort(list)
	list = slices.Compact(list)
	short, long := uint64(anyLength), uint64(0)
	for _, s := range list {
		short, long = min(short, uint64(len(s))), max(long, uint64(len(s)))
	}
	r.f.In = list
	l.min, l.max = max(l.min, short), min(l.max, long)
	return true
}

// stringRule reads one rule of a string; false if the kernel cannot check it.
func (r *rules) stringRule(l *lengths, name string, v protoreflect.Value) bool {
	switch name {
	case "len":
		l.minRunes, l.maxRunes = max(l.minRunes, v.Uint()), min(l.maxRunes, v.Uint())
	case "min_len":
		l.minRunes = max(l.minRunes, v.Uint())
	case "max_len":
		l.maxRunes = min(l.maxRunes, v.Uint())
	case "len_bytes":
		l.min, l.max = max(l.min, v.Uint()), min(l.max, v.Uint())
	case "min_bytes":
		l.min = max(l.min, v.Uint())
	case "max_bytes":
		l.max = min(l.max, v.Uint())
	case "const":
		s := v.String()
		l.equal = &s
	case "in":
		for i := range v.List().Len() {
			l.in = append(l.in, v.List().Get(i).String())
		}
	case "prefix":
		r.f.Prefix = v.String()
	case "suffix":
		r.f.Suffix = v.String()
	case "pattern":
		p, ok := parsePattern(v.String())
		if !ok {
			return false
		}
		r.f.Class = p.class
		l.minRunes = max(l.minRunes, uint64(p.min))
		if p.max != math.MaxUint32 {
			l.maxRunes = min(l.maxRunes, uint64(p.max))
		}
		return p.exact
	default:
		return false
	}
	return true
}

// bytesRule reads one rule of bytes; false if the kernel cannot check it.
func (r *rules) bytesRule(l *lengths, name string, v protoreflect.Value) bool {
	switch name {
	case "len":
		l.min, l.max = max(l.min, v.Uint()), min(l.max, v.Uint())
	case "min_len":
		l.min = max(l.min, v.Uint())
	case "max_len":
		l.max = min(l.max, v.Uint())
	case "const":
		s := string(v.Bytes())
		l.equal = &s
	case "in":
		for i := range v.List().Len() {
			l.in = append(l.in, string(v.List().Get(i).Bytes()))
		}
	case "prefix":
		r.f.Prefix = string(v.Bytes())
	case "suffix":
		r.f.Suffix = string(v.Bytes())
	default:
		return false
	}
	return true
}
