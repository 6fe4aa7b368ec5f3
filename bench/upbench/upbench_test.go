package upbench

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// built is a directory with Ward's programs.
func built(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	for d := bin; d != os.TempDir() && d != "/"; d = filepath.Dir(d) { // domains run programs from there
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-o", bin, "ward/cmd/ward", "ward/cmd/wardd", "ward/cmd/ward-names")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

// TestBenchUp starts 20 domains through `ward bench up`. That it works is
// judged; the figures of a busy machine are not.
func TestBenchUp(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes domains")
	}
	bench := exec.Command(filepath.Join(built(t), "ward"), "bench", "up", "--domains", "20", "--json")
	bench.Stderr = os.Stderr
	out, err := bench.Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", out)
	var r Result
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatal(err)
	}
	if r.Bench != "up" || r.Domains != 20 || r.Calls != 18 || r.Started <= 0 || r.Answered <= 0 {
		t.Errorf("figures: %+v", r)
	}
	var roles []string
	rss := 0
	for _, p := range r.Processes {
		roles = append(roles, p.Role)
		rss += p.RSS
		if p.PSS <= 0 || p.PSS > p.RSS {
			t.Errorf("memory of the %s: %d KiB shared out, %d resident", p.Role, p.PSS, p.RSS)
		}
	}
	slices.Sort(roles)
	if want := []string{"audit", "creator", "holder", "monitor"}; !slices.Equal(roles, want) {
		t.Errorf("measured %v, want %v", roles, want)
	}
	if rss != r.RSS {
		t.Errorf("the sum of %v is %d, not %d", r.Processes, rss, r.RSS)
	}
}

// A figure of something else is no figure.
func TestOptionsAreChecked(t *testing.T) {
	for _, n := range []int{0, 2, MaxDomains + 1} {
		if _, err := Run(t.Context(), Options{Domains: n}); err == nil {
			t.Errorf("%d domains: no error", n)
		}
	}
}
