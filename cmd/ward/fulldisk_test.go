package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// TestFullDisk: a file system without a free block is full; one that states no size
// (some of the kernel's) is not, and of one with room nothing is said.
func TestFullDisk(t *testing.T) {
	for _, c := range []struct {
		blocks, free uint64
		want         bool
	}{{256, 0, true}, {256, 1, false}, {0, 0, false}} {
		if got := isFull(&unix.Statfs_t{Blocks: c.blocks, Bfree: c.free}); got != c.want {
			t.Errorf("%d of %d blocks free: %t, want %t", c.free, c.blocks, got, c.want)
		}
	}
	var said bytes.Buffer
	cmd := &cobra.Command{}
	cmd.SetErr(&said)
	for _, dir := range []string{t.TempDir(), t.TempDir() + "/none"} {
		if noteFull(cmd, dir); strings.Contains(said.String(), "full") {
			t.Errorf("%s: %s", dir, &said)
		}
	}
}
