package ring

import "fmt"

// A Bracket says from which rings an entry point may be called: n1 <= n2 <= n3
// (Schroeder and Saltzer, "A Hardware Architecture for Implementing Protection
// Rings", CACM 15(3), 1972: the execute bracket is n1 to n2, the gate extension
// n2+1 to n3).
type Bracket struct{ N1, N2, N3 int }

// Check reports a bracket that is none, or names rings that do not exist.
func (b Bracket) Check(rings int) error {
	switch {
	case b.N1 < 0 || b.N3 >= rings:
		return fmt.Errorf("bracket [%d, %d, %d]: the rings are 0 to %d", b.N1, b.N2, b.N3, rings-1)
	case b.N1 > b.N2 || b.N2 > b.N3:
		return fmt.Errorf("bracket [%d, %d, %d]: it has to be n1 <= n2 <= n3", b.N1, b.N2, b.N3)
	}
	return nil
}

// A Crossing is what a call is, seen from an entry point's bracket.
type Crossing uint8

const (
	Denied  Crossing = iota // from beyond n3
	Outward                 // from within n1: toward less privilege, at any entry point
	Within                  // from n1 to n2: no ring is changed
	Gate                    // from n2+1 to n3: at declared entry points only
)

// Cross is the kind of a call from a ring.
func (b Bracket) Cross(from int) Crossing {
	switch {
	case from < 0 || from > b.N3:
		return Denied
	case from < b.N1:
		return Outward
	case from <= b.N2:
		return Within
	}
	return Gate
}

// Allows reports whether a ring may call; entry says that the method is a
// declared entry point.
func (b Bracket) Allows(from int, entry bool) bool {
	c := b.Cross(from)
	return c == Outward || c == Within || c == Gate && entry
}

// X86Call reports whether code at privilege level cpl may call code of level
// dpl through a call gate of level gate: toward more privilege or the same, and
// from no less privilege than the gate asks for (Intel SDM vol. 3A, 5.8.4,
// "Accessing a Code Segment Through a Call Gate": CPL <= gate DPL, RPL <= gate
// DPL, destination DPL <= CPL).
func X86Call(cpl, rpl, gate, dpl int) bool { return cpl <= gate && rpl <= gate && dpl <= cpl }

// X86Data reports whether code at level cpl, asking with level rpl, may reach
// data of level dpl (Intel SDM vol. 3A, 5.6: DPL >= max(CPL, RPL)).
func X86Data(cpl, rpl, dpl int) bool { return max(cpl, rpl) <= dpl }
