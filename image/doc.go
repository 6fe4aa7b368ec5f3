// Package image is the policy image: the compiled, checked form of a whole
// system, and all that wardd reads. The compiler (policy) makes it, the
// filter generator (filter) and the monitor read it.
//
// The image holds the policy as an intermediate form, not as instructions
// (docs/decisions/0001-image-holds-ir.md): a foreign image can name no map, no
// helper and no jump, and its checker is a walk over flat tables.
//
// Invariants:
//   - pure: no os, net, syscall or unsafe;
//   - Encode is deterministic: the same system gives the same bytes, and so the same hash;
//   - Decode accepts only what Check accepts: every index is in range, every
//     expression is well-typed and bounded, so no reader checks again.
package image
