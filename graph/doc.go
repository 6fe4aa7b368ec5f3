// Package graph draws what a policy image allows: domains by ring, users
// outside Ward, gates with their methods and policies, what may be lent, files,
// addresses, and the objects of system.yaml with a right an edge.
//
// What is denied is not drawn. What is conditional (some permit or forbid
// looks at the message or the user) is dashed; solid lines hold for every
// message within its bounds.
//
// Invariants:
//   - pure: no os, net, syscall or unsafe;
//   - the same image gives the same text;
//   - nothing that people wrote can leave its label: nodes have identifiers of
//     the package's own, and every label is escaped (escape.go).
package graph
