// Package systemd holds a unit for systems of Ward.
package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnit: systemd takes the unit, with the programs where they are not here.
func TestUnit(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("needs systemd-analyze")
	}
	unit, err := os.ReadFile("ward@.service")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(unit), "/usr/bin/ward", "/bin/true")
	if !strings.Contains(text, "\nExecReload=/bin/true reload --yes --system %i ") {
		t.Error("ExecReload asks, where nobody answers, or does not say which system is meant")
	}
	path := filepath.Join(t.TempDir(), "ward@x.service")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", "--man=no", path).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
	// The control: what is no unit is not taken.
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "ExecStart=", "ExecStrat=")), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", "--man=no", path).CombinedOutput(); err == nil && len(out) == 0 {
		t.Error("control: a unit without a command is taken")
	}
}
