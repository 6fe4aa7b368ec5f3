package thread

import (
	"os"
	"os/exec"
	"testing"
)

const racing = "WARD_TEST_RACING"

// TestRaceDetector runs the tests of this package again, built with Go's race
// detector: threads that end beside goroutines, and what is shared by them.
func TestRaceDetector(t *testing.T) {
	needLandlock(t, 2)
	if os.Getenv(racing) != "" {
		return // it is run by itself
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("needs Go, which the guest of make vm-test does not have")
	}
	for _, cc := range []string{"cc", "gcc", "clang", "clang-14"} {
		path, err := exec.LookPath(cc)
		if err != nil {
			continue
		}
		cmd := exec.Command("go", "test", "-race", "-count=1", "-run", "^Test(BesideUnderLoad|Rules|Ends|NothingElseChanges|LimitsOfIt|Nested|Context)$", ".")
		cmd.Env = append(os.Environ(), racing+"=1", "CGO_ENABLED=1", "CC="+path)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	t.Skip("needs a C compiler, which the race detector is linked by")
}
