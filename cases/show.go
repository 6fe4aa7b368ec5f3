package cases

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"ward/abi"
	"ward/image"
	"ward/policy/prove"
)

// verdict says what was decided, by what, and where that stands.
func (w *world) verdict(v image.Verdict) string {
	word := "denied"
	if v.Allow {
		word = "allowed"
	}
	if v.Policy == abi.NoPolicy {
		return word + ": default"
	}
	p := &w.img.Policies[v.Policy]
	return fmt.Sprintf("%s by %q (%s)", word, p.ID, p.Source)
}

func (w *world) expected(e expectation) string {
	switch e.kind {
	case byDefault:
		return "denied: default"
	case byBounds:
		return "denied: bounds"
	case bySignature:
		return "denied: signature"
	case byState:
		return "denied: state"
	case byRate:
		return "denied: rate"
	}
	word := "denied"
	if e.allow {
		word = "allowed"
	}
	return fmt.Sprintf("%s by %q", word, w.img.Policies[e.policy].ID)
}

// example shows a message that was found: the parameters that matter.
func (w *world) example(e *prove.Example, m method, reply bool) string {
	_, d := w.message(m, reply)
	s := ""
	if args := argumentsOf(w.img, e, d); args != "" {
		s = "\n\tfor example with " + args
	}
	s += w.inState(e)
	for _, g := range sortedKeys(e.Groups) {
		in := "not in"
		if e.Groups[g] {
			in = "in"
		}
		s += fmt.Sprintf("\n\tif the user is %s the group %s", in, w.img.Groups[g])
	}
	return s
}

func sortedKeys(m map[uint32]bool) []uint32 {
	var keys []uint32
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// argumentsOf writes an example in the form of `args`.
func argumentsOf(img *image.Image, e *prove.Example, d protoreflect.MessageDescriptor) string {
	own := slices.DeleteFunc(slices.Clone(e.Values), func(v prove.Value) bool { return image.IsMetadata(v.Path) })
	text, beside := braces(own, d, 0), besideText(img, e.Values)
	switch {
	case beside == "":
		return text
	case text == "":
		return "{" + beside + "}"
	}
	return strings.TrimSuffix(text, "}") + ", " + beside + "}"
}

// braces writes the values below a path of the given length, in order of fields.
func braces(values []prove.Value, d protoreflect.MessageDescriptor, depth int) string {
	byField := map[uint32][]prove.Value{}
	var numbers []uint32
	for _, v := range values {
		n := v.Path[depth]
		if byField[n] == nil {
			numbers = append(numbers, n)
		}
		byField[n] = append(byField[n], v)
	}
	slices.Sort(numbers)
	var parts []string
	for _, n := range numbers {
		fd := d.Fields().ByNumber(protoreflect.FieldNumber(n))
		parts = append(parts, string(fd.Name())+": "+one(byField[n], fd, depth))
	}
	if len(parts) == 0 {
		return ""
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// one writes what is known of one field.
func one(values []prove.Value, fd protoreflect.FieldDescriptor, depth int) string {
	var below []prove.Value
	for _, v := range values {
		if len(v.Path) == depth+1 && !v.Present {
			return "null"
		}
		if len(v.Path) > depth+1 {
			below = append(below, v)
		}
	}
	if len(below) > 0 {
		return braces(below, fd.Message(), depth+1)
	}
	for _, v := range values {
		switch {
		case v.What == image.Size:
			return fmt.Sprintf("{size: %d}", v.Long)
		case v.What == image.Count && v.Elements != nil:
			return elementsText(v.Elements, fd)
		case v.What == image.Count:
			return fmt.Sprintf("{count: %d}", v.Long)
		case v.What != image.Scalar:
		case v.IsText:
			return strconv.Quote(v.Text)
		case fd.Kind() == protoreflect.BoolKind:
			return strconv.FormatBool(v.Long != 0)
		case fd.Kind() == protoreflect.EnumKind:
			if e := fd.Enum().Values().ByNumber(protoreflect.EnumNumber(v.Long)); e != nil {
				return string(e.Name())
			}
			return strconv.FormatInt(v.Long, 10)
		default:
			return strconv.FormatInt(v.Long, 10)
		}
	}
	if fd.Message() != nil {
		return "{}"
	}
	return "…" // there, with any value
}
