package filter

import (
	"fmt"
	"math"
	"strings"

	"ward/image"
)

// The walk compares numbers as unsigned keys: signed ones with the sign bit
// flipped, floating-point ones so that the order of keys is that of values.
const signBit = 1 << 63

func signed(t image.Type) bool {
	switch t {
	case image.Int32, image.Int64, image.Sint32, image.Sint64, image.Sfixed32, image.Sfixed64, image.Enum:
		return true
	}
	return false
}

// doubleKey maps the bits of a number to its key. -0 has the key of 0.
func doubleKey(v float64) uint64 {
	if v == 0 {
		v = 0
		return signBit
	}
	b := math.Float64bits(v)
	if b>>63 != 0 {
		return ^b
	}
	return b | signBit
}

func floatKey(v float32) uint64 {
	if v == 0 {
		return 1 << 31
	}
	b := math.Float32bits(v)
	if b>>31 != 0 {
		return uint64(^b)
	}
	return uint64(b | 1<<31)
}

// numbers fills in the keys that a field may have.
func (t *tree) numbers(f *image.Field, r *fieldRow, captured bool) error {
	switch f.Type {
	case image.Double, image.Float:
		if !f.HasRange {
			return nil
		}
		lo, hi := math.Float64frombits(f.Min), math.Float64frombits(f.Max)
		if math.IsNaN(lo) || math.IsNaN(hi) {
			return fmt.Errorf("a bound is not a number")
		}
		if f.Type == image.Double {
			r.lo, r.hi = doubleKey(lo), doubleKey(hi)
			return nil
		}
		// The float32 values within bounds that need not be float32 themselves.
		l, h := float32(lo), float32(hi)
		if float64(l) < lo {
			l = math.Nextafter32(l, float32(math.Inf(1)))
		}
		if float64(h) > hi {
			h = math.Nextafter32(h, float32(math.Inf(-1)))
		}
		r.lo, r.hi = floatKey(l), floatKey(h)
		return nil
	}
	if signed(f.Type) {
		r.bias = signBit
	}
	if f.HasRange {
		r.lo, r.hi = f.Min^r.bias, f.Max^r.bias
	} else if !signed(f.Type) {
		r.hi = math.MaxInt64
	}
	if captured && !signed(f.Type) && r.hi > math.MaxInt64 {
		return fmt.Errorf("a condition looks at it, but it may exceed 2^63-1; bound it")
	}
	if len(f.Values) == 0 {
		return nil
	}
	var keys []uint64
	for _, v := range f.Values {
		if k := uint64(v) ^ r.bias; k >= r.lo && k <= r.hi {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		r.lo, r.hi = 1, 0
		return nil
	}
	r.lo, r.hi = keys[0], keys[len(keys)-1]
	switch span := r.hi - r.lo; {
	case span == uint64(len(keys)-1): // an interval
	case span < 64:
		r.flags |= flagBits
		for _, k := range keys {
			r.bits |= 1 << (k - r.lo)
		}
	case len(keys) > maxSet:
		return fmt.Errorf("%d values, the limit is %d", len(keys), maxSet)
	default:
		r.flags |= flagSet
		r.set, r.nset = uint32(len(t.values)), uint32(len(keys))
		t.values = append(t.values, keys...)
	}
	return nil
}

// needed says whether a field must be on the wire, and whether that is because
// its zero value, which its absence means, is out of bounds.
func needed(f *image.Field) (need, bound bool) {
	switch {
	case f.Required:
		return true, false
	case f.Card == image.Repeated:
		return f.MinItems > 0, true
	case f.Card == image.Optional:
		return false, false
	}
	return !zeroAllowed(f), true
}

// zeroAllowed reports whether a field's zero value is within its bounds.
func zeroAllowed(f *image.Field) bool {
	switch f.Type {
	case image.Nested:
		return true
	case image.String, image.Bytes:
		if len(f.In) > 0 && f.In[0] != "" { // sorted
			return false
		}
		return f.MinLen == 0 && f.MinRunes == 0 && strings.HasPrefix("", f.Prefix) && strings.HasSuffix("", f.Suffix)
	case image.Float, image.Double:
		return !f.HasRange || math.Float64frombits(f.Min) <= 0 && math.Float64frombits(f.Max) >= 0
	}
	if f.HasRange {
		if signed(f.Type) {
			if int64(f.Min) > 0 || int64(f.Max) < 0 {
				return false
			}
		} else if f.Min > 0 {
			return false
		}
	}
	for _, v := range f.Values {
		if v == 0 {
			return true
		}
	}
	return len(f.Values) == 0
}
