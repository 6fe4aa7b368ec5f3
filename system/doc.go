// Package system reads system.yaml: what runs, and what the file itself grants.
//
// Invariants: pure but for the fs.FS that it is given; every value keeps its
// place in the file; it never grants anything: grants become policies (policy).
package system
