// Package upbench measures a system that starts: how long until all its
// domains run, until each has called another, and how much memory the
// processes of wardd then take.
//
// The system is real: the name server, a server, and clients that look the
// server up, open a gate, make one call and stay. wardd is the real one, and
// every decision is recorded. Only the program of the domains is none that one
// would use: it is the measuring program again, which Domain recognises, so
// that nothing has to be built. That makes the domains larger, not wardd.
//
// Invariants: what is started is stopped when Run returns, in whatever way;
// files are made in a temporary directory only.
package upbench
