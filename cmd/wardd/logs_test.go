package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ward/audit"
)

// TestAttackLogsOfChildren: a domain makes children one after the other, each of
// which writes: of those that ended the logs of some are kept, and the rest is
// removed, by an audit writer that may do little. The control: the last ones
// are there.
func TestAttackLogsOfChildren(t *testing.T) {
	r, bosses := upKin(t, bossLine("boss", "children: { number: 3 }"), "boss")
	boss := bosses[0]
	const made, kept = 24, 16
	last := ""
	for range made {
		last = boss.done("spawn teller")
		r.says(last, "may call")
		boss.done("kill", last)
		boss.done("wait", last)
	}
	r.ended(last)
	r.ends() // all is written
	logs, err := filepath.Glob(filepath.Join(r.dir, audit.LogDir, "teller#*"))
	if err != nil || len(logs) != kept {
		t.Errorf("%d logs of children are left: %s, %v", len(logs), strings.Join(logs, " "), err)
	}
	if _, err := os.Stat(filepath.Join(r.dir, audit.LogDir, last)); err != nil {
		t.Errorf("control: %v", err)
	}
}
