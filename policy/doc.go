// Package policy compiles Cedar policies: text in, the intermediate form of
// the image out.
//
// The passes, each in files of its own:
//
//	source   text to trees with places; annotations, IDs
//	world    the entities, actions and context types that a system has
//	scope    which (client, action, server) a policy's scope covers; closed world
//	check    types, guards, the subset; nothing that could err is left after it
//	fold     a condition for one client, method and server: all that does not
//	         touch the message is evaluated by cedar-go, the rest becomes image.Expr
//	routes   the rules of every route, with what is implied and what system.yaml grants
//	domains  the domains of the image
//
// Invariants:
//   - pure: no os, net, syscall or unsafe;
//   - the compiled form decides as Cedar's authorizer does, for every message
//     that is within the bounds of its interface (oracle_test.go); to that end
//     no policy that could err is accepted, and context is never given to
//     cedar-go's partial evaluator, which is unsound for records with unknowns;
//   - every literal names something that exists;
//   - what is not supported is refused, never ignored;
//   - a finding carries file, line and column.
package policy
