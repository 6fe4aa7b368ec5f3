package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// noteFull says on standard error that the file system of a run directory is full:
// the audit writer counts then what it cannot write, and says how much that is as soon
// as a line fits again, but until then nobody who looks would see that records are missing.
func noteFull(cmd *cobra.Command, dir string) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || !isFull(&st) {
		return
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "ward: the file system of %s is full: records and logs are missing from then on, and how many records is recorded when there is room again\n", dir)
}

// isFull reports whether a file system that has a size takes no more data. What is kept
// for root counts: the writer is root.
func isFull(st *unix.Statfs_t) bool { return st.Blocks > 0 && st.Bfree == 0 }
