package prove

import (
	"math"
	"slices"
	"sort"

	"ward/image"
)

// ranges is a set of numbers: disjoint intervals in order. It is never
// changed in place.
type ranges []interval

type interval struct{ low, high int64 }

func point(v int64) ranges { return ranges{{v, v}} }

func points(values []int64) ranges {
	values = slices.Compact(slices.Sorted(slices.Values(values)))
	r := make(ranges, len(values))
	for i, v := range values {
		r[i] = interval{v, v}
	}
	return r
}

func (r ranges) low() int64  { return r[0].low }
func (r ranges) high() int64 { return r[len(r)-1].high }

// single reports whether one number is left.
func (r ranges) single() bool { return len(r) == 1 && r[0].low == r[0].high }

func (r ranges) has(v int64) bool {
	i := sort.Search(len(r), func(i int) bool { return r[i].high >= v })
	return i < len(r) && r[i].low <= v
}

// between keeps the numbers from low to high.
func (r ranges) between(low, high int64) ranges {
	if len(r) == 0 || r.low() >= low && r.high() <= high {
		return r
	}
	var res ranges
	for _, i := range r {
		if i.low, i.high = max(i.low, low), min(i.high, high); i.low <= i.high {
			res = append(res, i)
		}
	}
	return res
}

// both keeps the numbers that are in s, too.
func (r ranges) both(s ranges) ranges {
	var res ranges
	for i, j := 0, 0; i < len(r) && j < len(s); {
		if low, high := max(r[i].low, s[j].low), min(r[i].high, s[j].high); low <= high {
			res = append(res, interval{low, high})
		}
		if r[i].high < s[j].high {
			i++
		} else {
			j++
		}
	}
	return res
}

// without removes the numbers of s, which are points.
func (r ranges) without(s ranges) ranges {
	var res ranges
	j := 0
	for _, i := range r {
		for j < len(s) && s[j].high < i.low {
			j++
		}
		for low, k := i.low, j; ; k++ {
			if k == len(s) || s[k].low > i.high {
				res = append(res, interval{low, i.high})
				break
			}
			if s[k].low > low {
				res = append(res, interval{low, s[k].low - 1})
			}
			if s[k].high == math.MaxInt64 || s[k].high+1 > i.high {
				break
			}
			low = s[k].high + 1
		}
	}
	return res
}

// bounds are the numbers that a property of a field may have where the field is present.
func bounds(f *image.Field, what image.What) ranges {
	switch what {
	case image.Count:
		low := f.MinItems
		if f.Required {
			low = max(low, 1)
		}
		return ranges{{int64(low), int64(f.MaxItems)}}.between(int64(low), math.MaxInt64)
	case image.Size:
		return sizes(f)
	}
	r := ranges{{math.MinInt64, math.MaxInt64}}
	switch f.Type {
	case image.Int32, image.Sint32, image.Sfixed32, image.Enum:
		r = ranges{{math.MinInt32, math.MaxInt32}}
	case image.Uint32, image.Fixed32:
		r = ranges{{0, math.MaxUint32}}
	case image.Uint64, image.Fixed64:
		r = ranges{{0, math.MaxInt64}}
	case image.Bool:
		r = ranges{{0, 1}}
	}
	if f.HasRange {
		switch f.Type {
		case image.Uint32, image.Fixed32, image.Uint64, image.Fixed64, image.Bool:
			r = r.between(int64(min(f.Min, math.MaxInt64)), int64(min(f.Max, math.MaxInt64)))
		default:
			r = r.between(int64(f.Min), int64(f.Max))
		}
	}
	if len(f.Values) > 0 {
		r = r.both(points(f.Values))
	}
	if f.Required && f.Card == image.Implicit { // absence means zero, and a zero that is written counts as absent
		r = r.without(point(0))
	}
	return r
}

// sizes are the lengths that a bytes field may have.
func sizes(f *image.Field) ranges {
	if len(f.In) > 0 {
		var lengths []int64
		for _, v := range f.In {
			if Within(f, v) {
				lengths = append(lengths, int64(len(v)))
			}
		}
		return points(lengths)
	}
	low := max(int(f.MinLen), shortest(f.Prefix, f.Suffix))
	if f.Required && f.Card == image.Implicit {
		low = max(low, 1)
	}
	return ranges{{math.MinInt64, math.MaxInt64}}.between(int64(low), int64(f.MaxLen))
}
