// Package names is the name server: it knows which domains serve which
// interface now. It is an ordinary domain; cmd/ward-names is its program.
//
// A name confers no right. Who may publish and look up what is decided by the
// kernel filter of each gate to the name server, by the policy; who gets a gate
// to whom, by the monitor. A name server that lies can send a client to another
// server that the policy allows it, and nowhere else.
//
// Invariants:
//   - a publisher is who the kernel and the monitor say it is (the gate's
//     peer); the message names the interface only;
//   - what a domain published vanishes when its last gate to the name server
//     ends: no name outlives its server;
//   - bounded: so many names a domain, and calls that wait are bounded by the
//     call tables of the gates.
package names
