package interfaces

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/reflect/protoreflect"

	"ward/abi"
	"ward/diag"
	"ward/image"
)

// rules turns the protovalidate rules of one field into the bounds of the
// image. What the kernel cannot check is listed in Set.Unenforced: every rule
// that is set ends in one of the two, also those that this code does not know.
type rules struct {
	b      *builder
	f      *fieldInfo
	prefix string // of rule names: "repeated.items." for elements
	failed bool

	maxStated bool // an upper length, or for numbers any bound
	unsat     bool
}

func (r *rules) refuse(fix, format string, args ...any) {
	r.failed = true
	r.b.out.Errorf(r.f.at, fix, "%s: %s", r.f.fd.FullName(), fmt.Sprintf(format, args...))
}

func (r *rules) unenforced(rule string) {
	r.b.set.Unenforced = append(r.b.set.Unenforced, Unenforced{Field: r.f.fd.FullName(), Rule: r.prefix + rule, Pos: r.f.at})
}

// messageRules lists what the kernel does not check of a message as a whole.
func (b *builder) messageRules(m protoreflect.MessageDescriptor, rules *validate.MessageRules, at diag.Pos) {
	if rules == nil {
		return
	}
	add := func(rule string) {
		b.set.Unenforced = append(b.set.Unenforced, Unenforced{Field: m.FullName(), Rule: rule, Pos: at})
	}
	for _, c := range rules.GetCel() {
		add("cel " + c.GetId())
	}
	for range rules.GetCelExpression() {
		add("cel_expression")
	}
	for _, o := range rules.GetOneof() {
		add("oneof " + strings.Join(o.GetFields(), ", "))
	}
	if len(rules.ProtoReflect().GetUnknown()) > 0 {
		add("a rule that this version of Ward does not know")
	}
}

// apply reads the rules of the field. rule may be nil.
func (r *rules) apply(rule *validate.FieldRules, msg *validate.MessageRules) {
	f := r.f
	ifZero := rule.GetIgnore() == validate.Ignore_IGNORE_IF_ZERO_VALUE
	if rule != nil && !rule.HasIgnore() && inMessageOneof(msg, f.Name) {
		ifZero = true // protovalidate says so of the members
	}
	if rule.GetIgnore() == validate.Ignore_IGNORE_ALWAYS {
		if f.Type == image.Nested {
			r.b.out.Warnf(f.at, "", "%s: IGNORE_ALWAYS does not reach into %s: the kernel checks a message alike wherever it is", f.fd.FullName(), f.fd.Message().FullName())
		}
		rule = nil
	}
	if f.Card == image.Repeated {
		r.list(rule, ifZero)
	} else {
		r.value(rule)
	}
	if r.failed {
		return
	}
	switch {
	case f.Card == image.Implicit && !f.allowsZero() && ifZero:
		r.admitZero(ruleType(rule))
	case f.Card == image.Implicit && !f.allowsZero():
		f.Required = true // its absence means zero
	case f.Card == image.Repeated && f.MinItems > 0:
		f.Required = true
	}
	if rule.GetRequired() {
		r.required()
	}
}

func inMessageOneof(msg *validate.MessageRules, name string) bool {
	for _, o := range msg.GetOneof() {
		if slices.Contains(o.GetFields(), name) {
			return true
		}
	}
	return false
}

// required makes the field required; where absence means zero, zero is
// excluded from the bounds, too: it could be written.
func (r *rules) required() {
	f := r.f
	f.Required = true
	switch {
	case f.Card == image.Repeated:
		f.MinItems = max(f.MinItems, 1)
	case f.Card == image.Implicit:
		// Also a zero that is written is one: the filter denies it for every
		// required field that has no presence. Here the bounds say so where they can.
		f.excludeZero()
	}
	if f.empty() {
		r.refuse("state rules that some value satisfies", "no value satisfies its rules")
	}
}

// excludeZero takes the zero value out of the bounds, if they can say so.
func (f *fieldInfo) excludeZero() {
	switch f.Type {
	case image.String, image.Bytes:
		f.MinLen = max(f.MinLen, 1)
		f.In = slices.DeleteFunc(f.In, func(s string) bool { return s == "" })
	case image.Float, image.Double:
	default:
		switch {
		case len(f.Values) > 0:
			f.Values = slices.DeleteFunc(f.Values, func(v int64) bool { return v == 0 })
			if len(f.Values) == 0 {
				f.HasRange, f.Min, f.Max = true, 1, 0 // empty
			}
		case f.Min == 0:
			f.Min = 1
		case f.Max == 0:
			f.Max = math.MaxUint64 // -1: a range that ends in 0 and starts elsewhere is signed
		}
	}
}

// empty reports whether no value is within the bounds.
func (f *fieldInfo) empty() bool {
	switch f.Type {
	case image.String, image.Bytes:
		return f.MinLen > f.MaxLen
	case image.Float, image.Double, image.Nested:
		return false
	}
	if !f.HasRange || len(f.Values) > 0 {
		return false
	}
	if f.unsigned() {
		return f.Min > f.Max
	}
	return int64(f.Min) > int64(f.Max)
}

// list reads the rules of a repeated field and of its elements.
func (r *rules) list(rule *validate.FieldRules, ifZero bool) {
	f := r.f
	f.MaxItems = abi.DefaultMaxItems
	stated := false
	var items *validate.FieldRules
	if !r.common(rule, "repeated") {
		return
	}
	if rep := rule.GetRepeated(); rep != nil {
		if rep.HasMaxItems() {
			f.MaxItems, stated = clamp(rep.GetMaxItems()), true
		}
		if rep.HasMinItems() {
			f.MinItems = clamp(rep.GetMinItems())
		}
		if rep.GetUnique() {
			r.unenforced("repeated.unique")
		}
		if len(rep.ProtoReflect().GetUnknown()) > 0 {
			r.unenforced("repeated: a predefined rule")
		}
		items = rep.GetItems()
	}
	if f.MinItems > f.MaxItems {
		if !stated {
			r.refuse("state repeated.max_items, too", "at least %d elements, but Ward's default allows %d", f.MinItems, f.MaxItems)
		} else {
			r.refuse("state rules that some value satisfies", "no value satisfies its rules")
		}
		return
	}
	if ifZero && f.MinItems > 0 {
		f.MinItems = 0 // none at all is fine, and the kernel knows one range only
		r.unenforced("repeated.min_items")
	}
	r.prefix = "repeated.items."
	itemsIfZero := items.GetIgnore() == validate.Ignore_IGNORE_IF_ZERO_VALUE
	if items.GetIgnore() == validate.Ignore_IGNORE_ALWAYS {
		items = nil
	}
	r.value(items)
	if !r.failed && itemsIfZero && !f.allowsZero() {
		r.admitZero(ruleType(items))
	}
	r.prefix = ""
	f.Default = f.Default || !stated
}

// admitZero widens the bounds so that the zero value passes, as
// protovalidate lets it where it ignores zero values: the kernel does not tell
// an absent field from a zero. If more than zero gets in, the rules are listed
// as unenforced.
func (r *rules) admitZero(rule string) {
	f := r.f
	exact := false
	switch f.Type {
	case image.String, image.Bytes:
		exact = len(f.In) > 0 && f.Prefix == "" && f.Suffix == ""
		f.MinLen, f.MinRunes, f.Prefix, f.Suffix = 0, 0, "", ""
		if len(f.In) > 0 && f.In[0] != "" { // sorted
			f.In = slices.Insert(f.In, 0, "")
		}
	case image.Bool:
		exact, f.Min = true, 0
	case image.Float, image.Double:
		low, high := min(floatOf(f.Min), 0), max(floatOf(f.Max), 0)
		f.Min, f.Max = math.Float64bits(low), math.Float64bits(high)
	default:
		if len(f.Values) == 0 && f.Max-f.Min < maxSpread { // both ends have the same sign: zero is outside
			for v := f.Min; v != f.Max+1; v++ {
				f.Values = append(f.Values, int64(v))
			}
		}
		if exact = len(f.Values) > 0; exact {
			f.Values = append(f.Values, 0)
			slices.Sort(f.Values)
		}
		switch {
		case !f.HasRange:
		case f.unsigned() || int64(f.Min) > 0:
			f.Min = 0
		case int64(f.Max) < 0:
			f.Max = 0
		}
	}
	if !exact {
		r.unenforced(rule + " (a lower bound, with IGNORE_IF_ZERO_VALUE)")
	}
}

// maxSpread is the widest range that is written as a set.
const maxSpread = 256

// common reads what all rules have, and checks that they are for the type.
func (r *rules) common(rule *validate.FieldRules, want string) bool {
	if rule == nil {
		return true
	}
	for _, c := range rule.GetCel() {
		r.unenforced("cel " + c.GetId())
	}
	for range rule.GetCelExpression() {
		r.unenforced("cel_expression")
	}
	if len(rule.ProtoReflect().GetUnknown()) > 0 {
		r.unenforced("a rule that this version of Ward does not know")
	}
	got := ruleType(rule)
	if got == "" || got == want {
		return true
	}
	if r.f.Type == image.Nested && want == "" && r.f.fd.Message().ParentFile().Package() == "google.protobuf" {
		// Rules of a well-known type: Duration, Timestamp, Any, the wrappers.
		rule.ProtoReflect().Get(typeField(rule)).Message().Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
			if fd.Name() != "example" {
				r.unenforced(got + "." + string(fd.Name()))
			}
			return true
		})
		return true
	}
	if want == "" {
		want = "no"
	}
	r.refuse("use the rules of its type", "%s rules on a field that takes %s rules", got, want)
	return false
}

func typeField(rule *validate.FieldRules) protoreflect.FieldDescriptor {
	if rule == nil {
		return nil
	}
	m := rule.ProtoReflect()
	return m.WhichOneof(m.Descriptor().Oneofs().ByName("type"))
}

// ruleType names the type that the rules are for, or is empty.
func ruleType(rule *validate.FieldRules) string {
	if fd := typeField(rule); fd != nil {
		return string(fd.Name())
	}
	return ""
}

// value reads the rules of a value: of the field, or of each element.
func (r *rules) value(rule *validate.FieldRules) {
	f := r.f
	want := f.fd.Kind().String()
	if f.Type == image.Nested {
		want = ""
	}
	if !r.common(rule, want) {
		return
	}
	var typed protoreflect.Message
	if fd := typeField(rule); fd != nil && f.Type != image.Nested {
		typed = rule.ProtoReflect().Get(fd).Message()
		if len(typed.GetUnknown()) > 0 {
			r.unenforced(want + ": a predefined rule")
		}
	}
	switch f.Type {
	case image.Nested:
	case image.String, image.Bytes:
		r.text(typed, want)
	case image.Bool:
		r.boolean(typed)
	case image.Enum:
		r.enum(typed)
	case image.Float, image.Double:
		r.float(typed, want)
	default:
		r.integer(typed, want)
	}
	if r.unsat && !r.failed {
		r.refuse("state rules that some value satisfies", "no value satisfies its rules")
	}
}

// each calls fn for each rule that is set, but for examples.
func each(typed protoreflect.Message, fn func(name string, v protoreflect.Value)) {
	if typed == nil {
		return
	}
	var set []protoreflect.FieldDescriptor
	typed.Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if fd.Name() != "example" {
			set = append(set, fd)
		}
		return true
	})
	slices.SortFunc(set, func(a, b protoreflect.FieldDescriptor) int { return int(a.Number()) - int(b.Number()) })
	for _, fd := range set {
		name := string(fd.Name())
		if fd.IsExtension() {
			name = string(fd.FullName())
		}
		fn(name, typed.Get(fd))
	}
}

// clamp returns n as a length or count; what is beyond is too large anyhow.
func clamp(n uint64) uint32 { return uint32(min(n, 1<<31)) }

// allowsZero reports whether the bounds admit the zero value of the type.
func (f *fieldInfo) allowsZero() bool {
	switch f.Type {
	case image.String, image.Bytes:
		return f.MinLen == 0 && f.MinRunes == 0 && f.Prefix == "" && f.Suffix == "" && (len(f.In) == 0 || slices.Contains(f.In, ""))
	case image.Nested:
		return true
	case image.Float, image.Double:
		return !f.HasRange || floatOf(f.Min) <= 0 && floatOf(f.Max) >= 0
	}
	if len(f.Values) > 0 {
		return slices.Contains(f.Values, 0)
	}
	if f.unsigned() {
		return f.Min == 0
	}
	return int64(f.Min) <= 0 && int64(f.Max) >= 0
}

func (f *fieldInfo) unsigned() bool {
	switch f.Type {
	case image.Uint32, image.Uint64, image.Fixed32, image.Fixed64, image.Bool:
		return true
	}
	return false
}
