// Package cases reads policy tests (*_test.yaml) and judges them against a
// compiled system. docs/testing.md describes the format.
//
// Invariants:
//   - pure but for the fs.FS that it is given: no os, net, syscall or unsafe;
//   - every name in a test exists: domains, methods, arguments, enum values,
//     policies; what does not is a finding with its place, and nothing is run;
//   - a test passes only if it is proven (policy/prove); what can neither be
//     proven nor refuted fails, and says so.
package cases
