package ring

import "slices"

// A Label is a point in the lattice of secrecy: a level and a set of
// categories (Bell and LaPadula 1973; Denning, "A Lattice Model of Secure
// Information Flow", CACM 19(5), 1976).
type Label struct {
	Level      int
	Categories []string
}

// Dominates reports whether a is at least as high as b, and has all categories of b.
func (a Label) Dominates(b Label) bool {
	return a.Level >= b.Level && !slices.ContainsFunc(b.Categories, func(c string) bool { return !slices.Contains(a.Categories, c) })
}

// Flows reports whether information may pass from a to b without going down:
// for a message from a, that is no write down (the *-property); for b, it is no
// read up (the simple security property).
func Flows(a, b Label) bool { return b.Dominates(a) }

// Join is the least label that dominates both.
func (a Label) Join(b Label) Label {
	c := slices.Concat(a.Categories, b.Categories)
	slices.Sort(c)
	return Label{max(a.Level, b.Level), slices.Compact(c)}
}

// Taints reports whether what passes from integrity a to integrity b would
// spoil b: Biba's strict policy denies it (Biba 1977: no write up, no read down).
func Taints(a, b int) bool { return a < b }

// LowWater is the integrity of a subject after it received something of
// integrity from: under Biba's low-water-mark policy nothing is denied to the
// receiver, it sinks.
func LowWater(subject, from int) int { return min(subject, from) }
