package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"ward/bench/callbench"
	"ward/kernel"
)

func TestMain(m *testing.M) {
	callbench.Peer()
	testscript.Main(m, map[string]func(){"ward": main})
}

// sessions counts them, also where the tests are repeated.
var sessions atomic.Int32

// TestSessions runs testdata/*.txtar, each a session at a terminal. Scripts
// have Ward's other programs on PATH, the conditions [root] and [secretmem], and the commands
// "follow PAGE DIR", which does what a page of the documentation says, and
// "until COMMAND", which repeats COMMAND until it succeeds.
func TestSessions(t *testing.T) {
	top, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Chmod(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", bin, "./cmd/ward", "./cmd/wardd", "./cmd/ward-names", "./examples/picture/outside-client", "./cmd/wardd/testdata/probe", "./cmd/wardd/testdata/family", "./cmd/wardd/testdata/hostile")
	build.Dir, build.Env = top, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	testscript.Run(t, testscript.Params{
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"until": until, "follow": followPage},
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("TOP", top)
			e.Setenv("BIN", bin)
			e.Setenv("SYSTEM", fmt.Sprintf("ts%d-%d", os.Getpid(), sessions.Add(1))) // a name that no other session has
			e.Setenv("PATH", e.Getenv("PATH")+string(filepath.ListSeparator)+bin)
			for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY", "GOFLAGS"} {
				e.Setenv(name, goEnv(name))
			}
			e.Setenv("XDG_CACHE_HOME", filepath.Join(e.WorkDir, ".cache"))
			return nil
		},
		Condition: func(condition string) (bool, error) {
			switch condition {
			case "root":
				return os.Geteuid() == 0, nil
			case "secretmem":
				return kernel.SecretMemory() == nil, nil
			}
			return false, nil
		},
	})
}

func goEnv(name string) string {
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		return ""
	}
	return string(out[:len(out)-1])
}

// until repeats a command until it succeeds; its output is that of the last try.
func until(ts *testscript.TestScript, negated bool, args []string) {
	if negated || len(args) == 0 {
		ts.Fatalf("usage: until COMMAND...")
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(time.Minute)
	for {
		err := ts.Exec(args[0], args[1:]...)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			ts.Fatalf("until %v: %v", args, err)
		}
	}
}
