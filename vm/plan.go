package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"ward/image"
	"ward/vm/internal/plan"
)

// rooms whose tests run in the guest: those that touch the kernel.
var rooms = []string{"kernel", "kernel/confine", "thread", "creator", "monitor", "audit", "names", "gate", "gate/grpcgate", "kernel/probe", "redteam", "cmd/wardd"}

// pattern is which of their tests run; all if it is empty.
var pattern string

// roomSeconds bounds the tests of a room. Natively the slowest takes a minute or
// two; emulated, making the programs of a large system for the kernel takes
// twenty times as long, and more where others use the host. It ends what hangs,
// and must not end what is slow.
const roomSeconds = 3600

// programsOf are what the tests of a room would build with Go, which the guest
// does not have. They find them in the directory that WARD_TEST_PROGRAMS names.
var programsOf = map[string][]string{
	"redteam":   {"./redteam/testdata/hostile"},
	"cmd/wardd": {"./cmd/wardd", "./cmd/ward-names", "./cmd/wardd/testdata/probe", "./cmd/wardd/testdata/hostile", "./cmd/wardd/testdata/family"},
}

// system is the example that runs in the guest.
const system = "examples/picture"

// guestBin is where the guest has Ward's programs.
const guestBin = "/usr/bin"

// build compiles everything for the guest and returns the files of its RAM
// disk and what it runs.
func build(top, out string) ([]file, []plan.Step, error) {
	var files []file
	add := func(path, source string, mode uint32) {
		files = append(files, file{path: path, source: source, mode: mode})
	}

	programs := map[string]string{"./vm/init": "/init", "./creator/testdata/hostile": "/tests/hostile"}
	for _, name := range []string{"ward", "wardd", "ward-names"} {
		programs["./cmd/"+name] = filepath.Join(guestBin, name)
	}
	for pkg, path := range programs {
		source := filepath.Join(out, "bin", filepath.Base(path))
		if err := run(top, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", source, pkg); err != nil {
			return nil, nil, err
		}
		add(path, source, 0o755)
	}

	// The example is compiled here: the guest has no Go.
	img := filepath.Join(out, "picture.image")
	if err := run(top, filepath.Join(out, "bin/ward"), "compile", system, "-o", img); err != nil {
		return nil, nil, err
	}
	add("/picture.image", img, 0o444)
	encoded, err := os.ReadFile(img)
	if err != nil {
		return nil, nil, err
	}
	decoded, err := image.Decode(encoded)
	if err != nil {
		return nil, nil, err
	}
	for _, d := range decoded.Domains {
		if _, err := os.Stat(d.Program); err == nil && !d.Names {
			add(d.Program, d.Program, 0o755)
		}
	}
	steps := []plan.Step{
		{Name: "ward doctor", Args: []string{guestBin + "/ward", "doctor"}},
		{Name: "the demo", Args: []string{guestBin + "/ward", "up", "/picture.image", "--until-done"}, Seconds: 120},
	}

	for _, room := range rooms {
		name := strings.ReplaceAll(room, "/", "-") + ".test"
		source, dir := filepath.Join(out, "tests", name), filepath.Join("/src", room)
		if err := run(top, "go", "test", "-c", "-trimpath", "-ldflags=-s -w", "-o", source, "./"+room); err != nil {
			return nil, nil, err
		}
		if _, err := os.Stat(source); err != nil {
			continue // no tests
		}
		add("/tests/"+name, source, 0o755)
		data, err := tree(filepath.Join(top, room, "testdata"), filepath.Join(dir, "testdata"))
		if err != nil {
			return nil, nil, err
		}
		files = append(files, data...)
		step := plan.Step{
			Name: plan.Tests + room, Dir: dir, Seconds: roomSeconds,
			Args: []string{"/tests/" + name, "-test.v", fmt.Sprintf("-test.timeout=%ds", roomSeconds-10)},
		}
		if pattern != "" {
			step.Args = append(step.Args, "-test.run="+pattern)
		}
		if programs := programsOf[room]; len(programs) > 0 {
			path := filepath.Join("/tests/programs", room)
			step.Env = append(step.Env, "WARD_TEST_PROGRAMS="+path)
			for _, pkg := range programs {
				base := filepath.Base(pkg)
				source := filepath.Join(out, "programs", room, base)
				if err := run(top, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", source, pkg); err != nil {
					return nil, nil, err
				}
				add(filepath.Join(path, base), source, 0o755)
			}
		}
		steps = append(steps, step)
	}
	return files, steps, nil
}

// tree lists the files below dir as they stand below path in the guest.
func tree(dir, path string) ([]file, error) {
	var files []file
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if os.IsNotExist(err) && p == dir {
			return filepath.SkipDir
		}
		if err != nil || d.IsDir() {
			return err
		}
		relative, err := filepath.Rel(dir, p)
		files = append(files, file{path: filepath.Join(path, relative), source: p, mode: 0o644})
		return err
	})
	return files, err
}

// run runs a command in dir with a static Go build as environment.
func run(dir, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, os.Stderr, os.Stderr
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}
