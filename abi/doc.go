// Package abi is Ward's vocabulary: identifiers, verdicts and their reasons,
// the wire header of a gate, the layout of a verdict page and of an audit
// record, and the messages of a domain's control channel.
//
// Invariants:
//   - it imports encoding/binary, errors and fmt only, and no
//     package of this module: every other room may import it;
//   - what it lays out in memory or on the wire is little endian and fixed;
//     filter/bpf/ward.h mirrors the numbers, and a test compares the two;
//   - numbers are never reused: a retired one stays retired.
package abi
