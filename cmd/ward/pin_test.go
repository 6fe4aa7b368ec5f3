package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ward/image"
)

// loaded asks the dynamic linker what it loads for a program (ld.so(8), --list).
func loaded(t *testing.T, linker, program string) (paths []string) {
	t.Helper()
	out, err := exec.Command(linker, "--list", program).Output()
	if err != nil {
		t.Fatalf("%s --list %s: %v", linker, program, err)
	}
	for line := range strings.Lines(string(out)) {
		_, path, found := strings.Cut(line, " => ")
		if !found {
			path = line
		}
		if path = strings.TrimSpace(strings.Split(path, " (")[0]); strings.HasPrefix(path, "/") {
			paths = append(paths, path)
		}
	}
	return paths
}

// resolved is a file's own path, where links lead to it.
func resolved(t *testing.T, path string) string {
	t.Helper()
	p, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPinsAreWhatIsLoaded: of a dynamically linked program the linker is pinned, its
// table, and every file that it says it would load.
func TestPinsAreWhatIsLoaded(t *testing.T) {
	some := false
	for _, program := range []string{"/bin/true", "/bin/sh", "/usr/bin/env", "/usr/sbin/nginx", "/usr/bin/redis-server", "/usr/bin/git"} {
		o, err := readELF(program)
		if err != nil || o.linker == "" || o.runPath != "" {
			t.Logf("%s: not here, or not linked dynamically", program)
			continue
		}
		pins, err := librariesOf(&image.Domain{Program: program})
		if err != nil {
			t.Errorf("%s: %v", program, err)
			continue
		}
		var pinned []string
		for _, p := range pins {
			pinned = append(pinned, resolved(t, p.Path))
			if sum, err := fileSum(p.Path); err != nil || string(sum) != string(p.Digest) {
				t.Errorf("%s: the digest of %s: %v", program, p.Path, err)
			}
		}
		want := append(loaded(t, o.linker, program), o.linker)
		if _, err := os.Stat(linkerCache); err == nil {
			want = append(want, linkerCache)
		}
		for _, path := range want {
			if !slices.Contains(pinned, resolved(t, path)) {
				t.Errorf("%s: %s is loaded, and not pinned: %v", program, path, pinned)
			}
		}
		t.Logf("%s: %d files pinned, %d are loaded", program, len(pinned), len(want))
		some = true
	}
	if !some {
		t.Skip("needs a program that is linked dynamically")
	}
}

// TestPinRefuses: what --pin cannot pin whole it refuses, and says what to do. The
// control: the same program without that is pinned.
func TestPinRefuses(t *testing.T) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("needs a C compiler: makes programs that look for libraries elsewhere")
	}
	dir := t.TempDir()
	source, library := filepath.Join(dir, "main.c"), filepath.Join(dir, "lib.c")
	for name, text := range map[string]string{source: "int own(void); int main(void) { return own(); }\n", library: "int own(void) { return 0; }\n"} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	build := func(name string, args ...string) string {
		t.Helper()
		out := filepath.Join(dir, name)
		if b, err := exec.Command(cc, append([]string{"-o", out}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		return out
	}
	build("libwardown.so", "-shared", "-fPIC", library)
	plain := build("plain", source, library)
	for name, c := range map[string]struct {
		program string
		env     []string
		want    string
	}{
		"the control":         {program: plain},
		"an environment":      {program: plain, env: []string{"A=b"}},
		"a run path":          {program: build("runpath", source, "-L"+dir, "-lwardown", "-Wl,-rpath,"+dir), want: "DT_RPATH or DT_RUNPATH), which --pin does not follow: link it without"},
		"an old run path":     {program: build("rpath", source, "-L"+dir, "-lwardown", "-Wl,--disable-new-dtags,-rpath,"+dir), want: "DT_RPATH or DT_RUNPATH"},
		"a library elsewhere": {program: build("elsewhere", source, "-L"+dir, "-lwardown"), want: "needs libwardown.so, which is not where the linker looks for libraries"},
		"LD_LIBRARY_PATH":     {program: plain, env: []string{"LD_LIBRARY_PATH=" + dir}, want: "LD_LIBRARY_PATH is set"},
		"LD_AUDIT":            {program: plain, env: []string{"LD_AUDIT=x"}, want: "LD_AUDIT is set"},
		"GLIBC_TUNABLES":      {program: plain, env: []string{"GLIBC_TUNABLES=x"}, want: "GLIBC_TUNABLES is set"},
		"a script":            {program: source, want: "is no ELF file: what runs a script is its interpreter"},
	} {
		pins, err := librariesOf(&image.Domain{Program: c.program, Env: c.env})
		switch {
		case c.want == "" && (err != nil || len(pins) == 0):
			t.Errorf("%s: %d pins, %v", name, len(pins), err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
