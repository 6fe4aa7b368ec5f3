package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ward/holder/link"
	"ward/kernel"
	"ward/kernel/confine"
)

// A process of wardd that is taken over tries this on itself: as each role, after
// that has given up what it does.
const (
	selfEnv    = "WARDD_TEST_SELF"     // the role; "nobody" gives up nothing
	selfDirEnv = "WARDD_TEST_SELF_DIR" // its run directory
	selfImage  = "the policy of a system\n"
)

// tryOnSelf is what such a process does (TestMain).
func tryOnSelf(role string) error {
	dir := os.Getenv(selfDirEnv)
	sealed, err := link.Seal([]byte(selfImage))
	if err != nil {
		return err
	}
	mapped, err := link.Map(sealed)
	if err != nil {
		return err
	}
	at, err := mappedAt("/memfd:ward image")
	if err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return err
	}
	if role == "creator" { // it has the filter of the holder, whose child it is
		prog, err := confine.Compile(kernel.MakerCalls)
		if err == nil {
			err = confine.Install(prog, confine.Process)
		}
		if err != nil {
			return err
		}
	}
	if role != "nobody" {
		if err := protect(role, &options{runDir: dir}, nil); err != nil {
			return err
		}
	}
	write := func(name string) error { return os.WriteFile(name, []byte("x"), 0o600) }
	read := func(name string) error { _, err := os.ReadFile(name); return err }
	for _, c := range []struct {
		what string
		err  error
	}{
		{"opens its memory", func() error {
			f, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
			if err == nil {
				f.Close()
			}
			return err
		}()},
		{"opens its memory by its thread", func() error {
			f, err := os.OpenFile(fmt.Sprintf("/proc/self/task/%d/mem", unix.Gettid()), os.O_RDWR, 0)
			if err == nil {
				f.Close()
			}
			return err
		}()},
		{"changes the image", func() error {
			err := overwrite(os.Getpid(), at)
			if bytes.Equal(mapped, []byte(selfImage)) {
				return errors.Join(err, errors.New("it is as it was"))
			}
			return nil
		}()},
		{"maps the image for writing", unix.Mprotect(mapped[:len(mapped):len(mapped)], unix.PROT_READ|unix.PROT_WRITE)},
		{"reads all of /proc", read("/proc/sys/kernel/ostype")},
		{"reads elsewhere", read(filepath.Join(filepath.Dir(dir), "elsewhere", "file"))},
		{"writes its directory", write(filepath.Join(dir, role))},
		{"writes elsewhere", write(filepath.Join(filepath.Dir(dir), "elsewhere", role))},
		{"may take swap away", func() error { // by a name that is none
			if _, _, e := unix.Syscall(unix.SYS_SWAPOFF, 1, 0, 0); e == unix.EPERM {
				return e
			}
			return nil
		}()},
	} {
		if c.err == nil {
			fmt.Println(c.what)
		}
	}
	return nil
}

// mappedAt is where this process has mapped a file.
func mappedAt(name string) (at int64, err error) {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return 0, err
	}
	for l := range bytes.Lines(maps) {
		if bytes.Contains(l, []byte(name)) {
			_, err := fmt.Sscanf(string(l), "%x-", &at)
			return at, err
		}
	}
	return 0, fmt.Errorf("%s is not mapped", name)
}

// TestAttackSelf: what each process of wardd could do to itself, and to files,
// if somebody took it over: what the table of docs/self-protection.md says it
// keeps, and nothing else. The policy image it cannot change, whatever it keeps. The
// control is the same process without protection.
func TestAttackSelf(t *testing.T) {
	needsRoot(t)
	for role, want := range map[string][]string{
		"nobody":  {"opens its memory", "opens its memory by its thread", "reads all of /proc", "reads elsewhere", "writes its directory", "writes elsewhere", "may take swap away"},
		"holder":  {"opens its memory", "opens its memory by its thread", "reads all of /proc", "reads elsewhere", "writes its directory", "writes elsewhere"},
		"creator": {"opens its memory", "opens its memory by its thread", "reads all of /proc", "reads elsewhere", "writes its directory", "writes elsewhere"},
		"monitor": {"reads all of /proc", "writes its directory"},
		"audit":   {"writes its directory"},
	} {
		t.Run(role, func(t *testing.T) {
			top := t.TempDir()
			dir := filepath.Join(top, "run")
			for _, d := range []string{dir, filepath.Join(top, "elsewhere")} {
				if err := os.Mkdir(d, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(top, "elsewhere", "file"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), selfEnv+"="+role, selfDirEnv+"="+dir)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if got := strings.TrimSpace(string(out)); got != strings.Join(want, "\n") {
				t.Errorf("it\n%s\nand not\n%s", got, strings.Join(want, "\n"))
			}
		})
	}
}
