// Package wardv1 is the generated code of Ward's own interfaces: the name
// server's, and the status that an error on a gate carries.
//
// Invariants: nothing here is edited by hand; the privileged side (cmd/wardd)
// does not import it, since it brings gRPC along.
package wardv1

//go:generate ../../generate.sh
