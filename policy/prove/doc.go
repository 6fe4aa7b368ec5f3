// Package prove answers for all messages what policy/eval answers for one:
// whether some message within its bounds gets a verdict, and which, or that
// none does. `ward test` asks it about the parameters that a test leaves out.
//
// It evaluates the residual conditions over what is known of each parameter
// (sets of numbers, order between parameters, prefixes and suffixes of text,
// presence), and splits a case in two where that does not decide. What it
// knows is never less than what is possible, so a case that contradicts itself
// is empty, and "never" is a proof.
//
// Invariants:
//   - pure;
//   - an Example was evaluated by eval.Decide, so that what is found is so;
//   - what is neither proven nor found is Unknown, never a guess.
package prove
