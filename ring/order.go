package ring

import (
	"fmt"
	"math/bits"
	"slices"
)

// An Order is a set of rings and who is at least as trusted as whom: a partial
// order. In a line of rings every two can be compared; in general two rings
// may stand beside each other, and neither is trusted by the other.
type Order struct {
	names []string
	level []int
	above []uint32 // by ring: the rings that are at least as trusted, itself included
}

// Line is the total order of rings, the most trusted first.
func Line(names []string) (*Order, error) {
	above := make([][]string, len(names))
	for i := range names {
		if i > 0 {
			above[i] = names[i-1 : i]
		}
	}
	return New(names, above)
}

// New makes an order of rings from the rings directly above each: those that
// are more trusted. It fails with an *Error for no rings, more than Max, a name
// that is there twice or does not exist, and for rings above each other.
func New(names []string, above [][]string) (*Order, error) {
	if len(names) == 0 || len(names) > Max || len(above) != len(names) {
		return nil, &Error{Reason: fmt.Sprintf("%d rings: there may be 1 to %d", len(names), Max)}
	}
	o := &Order{names: slices.Clone(names), level: make([]int, len(names)), above: make([]uint32, len(names))}
	direct := make([]uint32, len(names))
	for i, n := range names {
		if slices.Index(names, n) != i {
			return nil, &Error{Ring: n, Reason: "is there twice"}
		}
		for _, a := range above[i] {
			j := o.Find(a)
			if j < 0 {
				return nil, &Error{Ring: n, Other: a, Reason: fmt.Sprintf("stands below %q, which is no ring", a)}
			}
			direct[i] |= 1 << j
		}
	}
	// One ring after the other, each once all above it are known; what never
	// gets there is above itself.
	var done uint32
	for progress := true; progress; {
		progress = false
		for i := range names {
			if done&(1<<i) != 0 || direct[i]&^done != 0 {
				continue
			}
			o.above[i] = 1 << i
			for j := range names {
				if direct[i]&(1<<j) != 0 {
					o.above[i] |= o.above[j]
					o.level[i] = max(o.level[i], o.level[j]+1)
				}
			}
			done |= 1 << i
			progress = true
		}
	}
	for i, n := range names {
		if done&(1<<i) == 0 {
			return nil, &Error{Ring: n, Reason: "stands above itself: the order has a circle"}
		}
	}
	return o, nil
}

// An Error says what is wrong with a declared order.
type Error struct {
	Ring   string // "" if it is about the whole
	Other  string // the other ring, if there is one
	Reason string
}

func (e *Error) Error() string {
	if e.Ring == "" {
		return e.Reason
	}
	return fmt.Sprintf("ring %q %s", e.Ring, e.Reason)
}

// Names are the rings, in the order of their declaration.
func (o *Order) Names() []string { return slices.Clone(o.names) }

// Find is the number of a ring, or -1.
func (o *Order) Find(name string) int { return slices.Index(o.names, name) }

func (o *Order) has(rings ...int) bool {
	return !slices.ContainsFunc(rings, func(r int) bool { return r < 0 || r >= len(o.names) })
}

// Level is the length of the longest chain of more trusted rings: 0 for a ring
// with none above it. What is more trusted has a smaller level; the reverse
// holds only in a line. -1 for a ring that does not exist.
func (o *Order) Level(r int) int {
	if !o.has(r) {
		return -1
	}
	return o.level[r]
}

// Trusts reports whether ring a is at least as trusted as ring b.
func (o *Order) Trusts(a, b int) bool { return o.has(a, b) && o.above[b]&(1<<a) != 0 }

// Comparable reports whether one of two rings is at least as trusted as the other.
func (o *Order) Comparable(a, b int) bool { return o.Trusts(a, b) || o.Trusts(b, a) }

// Above are the rings that are at least as trusted as r, itself included.
func (o *Order) Above(r int) []string {
	var res []string
	for i, n := range o.names {
		if o.Trusts(i, r) {
			res = append(res, n)
		}
	}
	return res
}

// Linear reports whether every two rings can be compared.
func (o *Order) Linear() bool {
	pairs := 0
	for _, m := range o.above {
		pairs += bits.OnesCount32(m)
	}
	return pairs == len(o.names)*(len(o.names)+1)/2
}

// Distance is the number of levels between two rings; false if they cannot be compared.
func (o *Order) Distance(a, b int) (int, bool) {
	if !o.Comparable(a, b) {
		return 0, false
	}
	return max(o.level[a]-o.level[b], o.level[b]-o.level[a]), true
}
