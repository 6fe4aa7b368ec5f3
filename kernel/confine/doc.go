// Package confine is how a thread or a process gives rights up for good by its
// own hand: Landlock rulesets, seccomp filters, capabilities, and what else
// narrows without privilege. kernel uses it for domains, wardd for itself, and
// package thread, in programs of others, for single threads.
//
// Invariants:
//   - nothing here widens a right; all of it lasts until the thread ends, and
//     what the thread starts inherits it;
//   - it decides nothing and falls back to nothing: what the kernel lacks is an
//     error of the caller's to judge.
//
// It imports nothing of this module, and golang.org/x/sys/unix.
package confine
