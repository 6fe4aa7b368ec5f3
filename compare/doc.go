// Package compare says what changes from one policy image to another: which
// requests, replies and verdicts flip, with examples, and which bounds widen.
//
// What it claims holds: an example flips whatever its left-out arguments are,
// within the bounds of both images; "no flip" is said only if the decisions
// are equal, or an exhaustive split of the arguments into cases proved it. All
// else is said to be open, and counts as new access: so does every change of
// an interface that is not plainly narrower.
//
// Rights to objects are compared by domain, and new ones are new access; a right
// to write is one together with that to read.
//
// What passes beside messages is compared, too: how much errors in the place of
// replies may say, and what metadata may be that no condition looks at.
//
// Not compared: programs, arguments, environment, quotas. They are not policy.
//
// Invariants: pure: no os, net, syscall or unsafe; the same images give the
// same report.
package compare
