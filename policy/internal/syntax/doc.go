// Package syntax reads Cedar policies into a tree in which every node knows
// its place. cedar-go places whole policies only, and stops at the first
// error; this reader is Ward's locator, and goes on after an error with the
// next policy.
//
// It decides nothing on its own: package policy/internal/cedar reads the same
// text with cedar-go, and a policy of which the two trees differ is refused.
//
// Invariants: pure; it accepts only UTF-8 text; depth and length of what it
// accepts are bounded (MaxNesting, MaxTerms), so that no later pass overflows
// the stack.
package syntax
