package interfaces

import (
	"math"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"

	"ward/image"
)

func floatOf(bits uint64) float64 { return math.Float64frombits(bits) }

// fullRange returns the values of an integer type as bits of an int64, or of
// a uint64. For 64-bit unsigned types the upper end is 2^63-1: policies
// compare signed numbers.
func fullRange(t image.Type) (low, high uint64) {
	switch t {
	case image.Int32, image.Sint32, image.Sfixed32:
		return 1<<64 - 1<<31, math.MaxInt32
	case image.Uint32, image.Fixed32:
		return 0, math.MaxUint32
	case image.Uint64, image.Fixed64:
		return 0, math.MaxInt64
	}
	return 1 << 63, math.MaxInt64
}

// limit is one end of a range, as the rules state it.
type limit struct {
	set, open bool // open: the value itself is outside
	v         protoreflect.Value
}

// numeric sorts the rules that all numbers have.
type numeric struct {
	low, high limit
	equal     protoreflect.Value // const; valid if set
	in        []protoreflect.Value
}

// number reads the rules of a number; the others are unenforced.
func (r *rules) number(typed protoreflect.Message, kind string) (n numeric) {
	each(typed, func(name string, v protoreflect.Value) {
		switch name {
		case "const":
			n.equal = v
		case "gt", "gte":
			n.low = limit{true, name == "gt", v}
		case "lt", "lte":
			n.high = limit{true, name == "lt", v}
		case "in":
			for i := range v.List().Len() {
				n.in = append(n.in, v.List().Get(i))
			}
		case "finite":
			// float reads it
		default:
			r.unenforced(kind + "." + name)
		}
	})
	return n
}

func (r *rules) integer(typed protoreflect.Message, kind string) {
	f := r.f
	n := r.number(typed, kind)
	f.HasRange = true
	f.Min, f.Max = fullRange(f.Type)
	natural := f.Max
	less := func(a, b uint64) bool {
		if f.unsigned() {
			return a < b
		}
		return int64(a) < int64(b)
	}
	value := func(v protoreflect.Value) uint64 {
		switch x := v.Interface().(type) {
		case int32:
			return uint64(int64(x))
		case int64:
			return uint64(x)
		case uint32:
			return uint64(x)
		default:
			return v.Uint()
		}
	}
	if n.low.set && n.high.set && less(value(n.high.v), value(n.low.v)) {
		// protovalidate reads such a pair as "outside of".
		r.unenforced(kind + ": a range that excludes its middle")
		n.low, n.high = limit{}, limit{}
	}
	if f.unsigned() && n.high.set && value(n.high.v) > natural {
		r.refuse("bound it by at most 9223372036854775807 (2^63-1)", "the upper bound is beyond the numbers of policies")
		return
	}
	if n.low.set {
		f.Min = value(n.low.v)
		if n.low.open {
			r.unsat = r.unsat || f.Min == natural
			f.Min++
		}
	}
	if n.high.set {
		least, _ := fullRange(f.Type)
		f.Max = value(n.high.v)
		if n.high.open {
			r.unsat = r.unsat || f.Max == least
			f.Max--
		}
	}
	r.unsat = r.unsat || less(f.Max, f.Min)
	f.Default = f.Default || !n.low.set && !n.high.set && !n.equal.IsValid() && n.in == nil
	if f.Type == image.Uint64 || f.Type == image.Fixed64 {
		f.Default = f.Default || !n.high.set && !n.equal.IsValid() && n.in == nil
	}
	r.values(n, func(v protoreflect.Value) (int64, bool) {
		x := value(v)
		return int64(x), !less(x, f.Min) && !less(f.Max, x)
	})
	if len(f.Values) == 1 {
		f.Min, f.Max = uint64(f.Values[0]), uint64(f.Values[0])
	}
}

// values keeps those of const and in that the other rules admit.
func (r *rules) values(n numeric, admits func(protoreflect.Value) (int64, bool)) {
	list := n.in
	if n.equal.IsValid() {
		if n.in != nil && !slices.ContainsFunc(n.in, n.equal.Equal) {
			r.unsat = true
			return
		}
		list = []protoreflect.Value{n.equal}
	}
	if list == nil {
		return
	}
	for _, v := range list {
		if x, ok := admits(v); ok {
			r.f.Values = append(r.f.Values, x)
		}
	}
	slices.Sort(r.f.Values)
	r.f.Values = slices.Compact(r.f.Values)
	r.unsat = r.unsat || len(r.f.Values) == 0
	if len(r.f.Values) > maxInNumbers {
		r.refuse("use fewer values, or a range", "its rules compare it with %d values; the limit is %d", len(r.f.Values), maxInNumbers)
	}
}

// maxInNumbers is the largest set of numbers that a filter compares one field with.
const maxInNumbers = 4096

// boolean bounds a bool by 0 and 1, or by what it has to be.
func (r *rules) boolean(typed protoreflect.Message) {
	f := r.f
	f.HasRange, f.Min, f.Max = true, 0, 1
	each(typed, func(name string, v protoreflect.Value) {
		switch {
		case name == "const" && v.Bool():
			f.Min = 1
		case name == "const":
			f.Max = 0
		default:
			r.unenforced("bool." + name)
		}
	})
}

// enum admits the numbers that the enum defines, whatever the rules: senders
// and receivers of other versions do not agree on the others.
func (r *rules) enum(typed protoreflect.Message) {
	f := r.f
	var defined, not []int64
	values := f.fd.Enum().Values()
	for i := range values.Len() {
		defined = append(defined, int64(values.Get(i).Number()))
	}
	slices.Sort(defined)
	defined = slices.Compact(defined) // aliases
	var n numeric
	each(typed, func(name string, v protoreflect.Value) {
		switch name {
		case "const":
			n.equal = protoreflect.ValueOfInt32(int32(v.Int()))
		case "in", "not_in":
			for i := range v.List().Len() {
				x := v.List().Get(i).Int()
				if name == "in" {
					n.in = append(n.in, protoreflect.ValueOfInt32(int32(x)))
				} else {
					not = append(not, x)
				}
			}
		case "defined_only":
		default:
			r.unenforced("enum." + name)
		}
	})
	admits := func(x int64) bool { return slices.Contains(defined, x) && !slices.Contains(not, x) }
	r.values(n, func(v protoreflect.Value) (int64, bool) { return v.Int(), admits(v.Int()) })
	if n.in == nil && !n.equal.IsValid() {
		f.Values = slices.DeleteFunc(defined, func(x int64) bool { return !admits(x) })
		r.unsat = r.unsat || len(f.Values) == 0
	}
}

// float bounds a float or double by a range; without rules it is unbounded,
// NaN included.
func (r *rules) float(typed protoreflect.Message, kind string) {
	f := r.f
	n := r.number(typed, kind)
	low, high := math.Inf(-1), math.Inf(1)
	next := func(x, to float64) float64 {
		if f.Type == image.Float {
			return float64(math.Nextafter32(float32(x), float32(to)))
		}
		return math.Nextafter(x, to)
	}
	nan := false
	for _, v := range append([]protoreflect.Value{n.low.v, n.high.v, n.equal}, n.in...) {
		nan = nan || v.IsValid() && math.IsNaN(v.Float())
	}
	if nan {
		r.unenforced(kind + ": a bound that is not a number")
		return
	}
	if n.low.set && n.high.set && n.high.v.Float() < n.low.v.Float() {
		r.unenforced(kind + ": a range that excludes its middle")
		n.low, n.high = limit{}, limit{}
	}
	if n.low.set {
		f.HasRange, low = true, n.low.v.Float()
		if n.low.open {
			r.unsat = r.unsat || math.IsInf(low, 1)
			low = next(low, math.Inf(1))
		}
	}
	if n.high.set {
		f.HasRange, high = true, n.high.v.Float()
		if n.high.open {
			r.unsat = r.unsat || math.IsInf(high, -1)
			high = next(high, math.Inf(-1))
		}
	}
	if len(n.in) == 1 && !n.equal.IsValid() {
		n.equal, n.in = n.in[0], nil
	}
	if n.in != nil {
		r.unenforced(kind + ".in")
	}
	if n.equal.IsValid() {
		f.HasRange = true
		low, high = max(low, n.equal.Float()), min(high, n.equal.Float())
	}
	if typed != nil {
		if fd := typed.Descriptor().Fields().ByName("finite"); fd != nil && typed.Get(fd).Bool() {
			most := math.MaxFloat64
			if f.Type == image.Float {
				most = math.MaxFloat32
			}
			f.HasRange = true
			low, high = max(low, -most), min(high, most)
		}
	}
	r.unsat = r.unsat || low > high
	if f.HasRange {
		f.Min, f.Max = math.Float64bits(low), math.Float64bits(high)
	}
}
