package main

import (
	"context"
	"os/exec"
	"strings"
	"testing"
)

// TestInterruptedBuild: Ctrl-C during a build is said to be that, and no mistake
// in the program that is built.
func TestInterruptedBuild(t *testing.T) {
	for command, want := range map[string]bool{"exit 0": false, "exit 2": false, "kill -KILL $$": false, "kill -INT $$": true} {
		if got := interrupted(context.Background(), exec.Command("sh", "-c", command).Run()); got != want {
			t.Errorf("%s: %t, want %t", command, got, want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	dir := t.TempDir()
	err := goBuild(ctx, dir, "./program", dir+"/out/program")
	if err == nil || !strings.Contains(err.Error(), "interrupted while building ./program") {
		t.Errorf("%v", err)
	}
	// The control: what is wrong with the program is said.
	err = goBuild(context.Background(), dir, "./program", dir+"/out/program")
	if err == nil || strings.Contains(err.Error(), "interrupted") {
		t.Errorf("control: %v", err)
	}
}

// TestInterruptedCompiler: so it is during the compilation of policies.
func TestInterruptedCompiler(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := runChild(ctx, strings.NewReader(""), new(compiled), confinedCommand)
	if err == nil || err.Error() != "interrupted while compiling; nothing was changed" {
		t.Errorf("%v", err)
	}
}
