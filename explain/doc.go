// Package explain says why a message is allowed or denied, and what would have
// to change: `ward explain`.
//
// What a question leaves out may have any value within its bounds, so the
// answer is for all of them: "allow" and "deny" are proven by policy/prove,
// and "depends" comes with an example of both.
//
// Invariants:
//   - pure: no os, net, syscall or unsafe;
//   - a change of arguments that is proposed was tried: the same decision
//     admits the message with it;
//   - of the changes of arguments it names those that change fewest; it has
//     tried all sets of at most three arguments.
package explain
