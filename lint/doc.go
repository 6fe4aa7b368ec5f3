// Package lint finds what is legal in a system but hardly meant: policies that
// permit too much, or nothing; domains that nobody reaches; rights of templates
// that no child of them has; children for which a quota has no room; sockets that cannot be bound; what of an existing
// gRPC service will not carry over. `ward check` prints it.
//
// Each kind of finding has an ID (the constants), and each finding a subject,
// so that `ward check --allow ID:SUBJECT` can silence it.
//
// Invariants:
//   - pure: no os, net, syscall or unsafe;
//   - "never" and "shadowed" are proven (policy/prove); what cannot be told
//     within the budget is not reported;
//   - the same system gives the same findings in the same order.
package lint
