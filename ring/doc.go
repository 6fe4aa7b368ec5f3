// Package ring is the arithmetic of protection: rings and their order, call
// brackets, the rules of segments and gates, labels and the lattice they form.
//
// It says what the literature says, as tables and relations; the policies of
// models/ say the same in Cedar, and the tests of models/ hold the two against
// each other for every case.
//
// Invariants:
//   - pure: it imports nothing but the standard library, and keeps no state;
//   - a smaller level is more trusted; 0 is the most trusted;
//   - every relation answers "no" for what does not exist.
package ring

// Max is the number of rings that a system may have (Multics had 8 in hardware
// and 64 on the first machine; the VAX had 4, the MV8000 8).
const Max = 32
