// Package spawnbench measures how long it takes to start a program and see it
// end: plainly, as a domain of Ward with its root, and under bwrap with the
// same namespaces and a root of the same content. The three take turns in one
// run, on the same payload: a static program of a few instructions.
//
// Ward's figure is the creator's whole work as the monitor sees it: from the
// request on its channel to the notice that the domain has ended, cgroup made
// and removed. It includes what bwrap is not asked for here: user ID, limits,
// Landlock and a seccomp allow-list.
package spawnbench
