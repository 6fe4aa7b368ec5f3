// Package holder is the first process of wardd, the one that need not die.
//
// It keeps the descriptors on which gates depend, and all else that the monitor
// gives it for the next one; starts the audit writer, the creator and the
// monitor, and again if they die; reaps what is orphaned, and at the end puts
// things in order. It decides nothing, reads nothing that a domain wrote, and parses
// nothing but the fixed messages of its own children.
//
// Invariants:
//   - as long as the holder lives, gates that were opened go on and are
//     checked, whatever becomes of the monitor;
//   - when it ends, in whatever way, nothing goes on: the monitor and the
//     audit writer die with it (PR_SET_PDEATHSIG), the creator reads end of
//     file on its channel and kills the domains, and the maps lose their last
//     descriptor, so that every gate drops everything;
//   - it signals and waits for its own children only, which it knows from the
//     kernel: nobody can name it a process;
//   - it holds no text of the system but the image, and no right of a domain;
//   - it is small: all lines of this directory but the tests are fewer than 400
//     (internal/repotest). Everything happens in one goroutine, Run's, but that
//     another one receives what the monitor says.
package holder
