package cases

import (
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"ward/image"
	"ward/interfaces"
)

// maxPath bounds the parts of a compact argument's path.
const maxPath = 32

// Compact turns arguments written path=value (site=www, chain.size=4096,
// list.values=[a, b]) into the form of a test's args. A value of a text
// parameter needs no quotes; null says that a parameter is absent. Metadata is
// written ward.metadata.KEY=value.
func Compact(img *image.Image, set *interfaces.Set, name string, reply bool, args []string) (string, error) {
	w := &world{img: img, set: set}
	m, ok := w.methodNamed(name)
	if !ok {
		return "{}", nil // the question's reader says what is wrong
	}
	_, desc := w.message(m, reply)
	root := &tree{}
	for _, a := range args {
		path, value, ok := strings.Cut(a, "=")
		if !ok || path == "" {
			return "", fmt.Errorf("argument %q: write name=value", a)
		}
		parts := strings.Split(path, ".")
		if len(parts) > maxPath {
			return "", fmt.Errorf("argument %q: a path of %d parts", a, len(parts))
		}
		text := literal(desc, parts, value)
		if beside, ok := besidePath(img, path); ok {
			parts, text = beside, besideLiteral(beside, value)
		}
		if !root.put(parts, text) {
			return "", fmt.Errorf("argument %q: %s is given twice", a, path)
		}
	}
	return root.String(), nil
}

// A tree is a mapping under construction, in the order of the arguments.
type tree struct {
	keys  []string
	below map[string]*tree
	leaf  string
}

func (t *tree) put(path []string, value string) bool {
	if len(path) == 0 {
		if t.leaf != "" || t.below != nil {
			return false
		}
		t.leaf = value
		return true
	}
	if t.leaf != "" {
		return false
	}
	next := t.below[path[0]]
	if next == nil {
		if t.below == nil {
			t.below = map[string]*tree{}
		}
		next = &tree{}
		t.below[path[0]] = next
		t.keys = append(t.keys, path[0])
	}
	return next.put(path[1:], value)
}

func (t *tree) String() string {
	if t.leaf != "" {
		return t.leaf
	}
	var parts []string
	for _, k := range t.keys {
		parts = append(parts, quote(k)+": "+t.below[k].String())
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// literal writes one value in YAML: that of a text parameter in quotes.
func literal(d protoreflect.MessageDescriptor, path []string, value string) string {
	var fd protoreflect.FieldDescriptor
	for _, name := range path {
		if d == nil {
			break // size, count, values
		}
		if fd = d.Fields().ByName(protoreflect.Name(name)); fd == nil {
			break
		}
		d = fd.Message()
	}
	if value == "{}" && fd != nil && fd.Message() != nil && !fd.IsList() {
		return value // it is there
	}
	text := fd != nil && fd.Kind() == protoreflect.StringKind
	switch {
	case text && fd.IsList() && strings.HasPrefix(value, "["):
		return list(value)
	case value == "null" && fd != nil && fd.HasPresence():
		return value
	case text && !fd.IsList() && !strings.HasPrefix(value, `"`), value == "", fd == nil:
		return quote(value)
	}
	if _, err := strconv.Unquote(value); err == nil && strings.HasPrefix(value, `"`) {
		return value
	}
	if strings.HasPrefix(value, "[") {
		return list(value)
	}
	if strings.ContainsAny(value, "{}[],:#&*!|>'\"%@`\n\r\t ") {
		return quote(value) // no YAML of its own
	}
	return value
}

// list writes [a, b] with each entry in quotes, but for numbers and what is
// quoted already.
func list(value string) string {
	var parts []string
	for e := range strings.SplitSeq(strings.TrimSuffix(strings.TrimPrefix(value, "["), "]"), ",") {
		e = strings.TrimSpace(e)
		if e == "" {
			continue
		}
		if _, err := strconv.Unquote(e); err != nil || !strings.HasPrefix(e, `"`) {
			if _, err := strconv.ParseInt(e, 10, 64); err != nil {
				e = quote(e)
			}
		}
		parts = append(parts, e)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}
