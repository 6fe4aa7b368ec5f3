package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"ward/image"
	"ward/kernel"
)

// makeImage compiles a system directory, builds its programs and returns the
// image that names them, encoded and decoded.
func makeImage(cmd *cobra.Command, dir string) ([]byte, *image.Image, error) {
	return makeSuitable(cmd, dir, func(*image.Image) error { return nil })
}

// makeSuitable is makeImage, but builds nothing of a system that does not suit.
func makeSuitable(cmd *cobra.Command, dir string, suits func(*image.Image) error) ([]byte, *image.Image, error) {
	c, err := compileOrReport(cmd, dir)
	if err != nil {
		return nil, nil, err
	}
	img, err := image.Decode(c.Image)
	if err != nil {
		return nil, nil, failed("image from the compiler: %w", err)
	}
	if err := plausible(img, c.Build); err != nil {
		return nil, nil, failed("answer of the compiler: %w", err)
	}
	if err := suits(img); err != nil {
		return nil, nil, err
	}
	programs, err := buildAll(cmd.Context(), cmd.ErrOrStderr(), dir, img.Name, c.Build)
	if err != nil {
		return nil, nil, err
	}
	for i := range img.Domains {
		d := &img.Domains[i]
		of, _ := image.Ringed(d.Name)
		if p, ok := programs[of]; ok {
			d.Program = p
		}
	}
	if err := img.Check(); err != nil {
		return nil, nil, failed("image: %w", err)
	}
	return image.Encode(img), img, nil
}

// plausible checks what the confined compiler says is to be built: it has read
// what somebody wrote, and a name from it becomes the path of a file here.
func plausible(img *image.Image, build map[string]string) error {
	for domain, pkg := range build {
		if !slices.ContainsFunc(img.Domains, func(d image.Domain) bool { return d.Name == domain }) {
			return fmt.Errorf("it names a package for %q, which is no domain of the system", domain)
		}
		if !filepath.IsLocal(pkg) {
			return fmt.Errorf("the package %q of domain %s is not inside the system directory", pkg, domain)
		}
	}
	return nil
}

// linkable finds programs that could not start because their dynamic linker is
// not in their domain's root. Programs that are not here are not judged.
func linkable(img *image.Image) error {
	var errs []error
	for i := range img.Domains {
		d := &img.Domains[i]
		if _, ring := image.Ringed(d.Name); d.Host || d.Program == "" || ring != "" {
			continue
		}
		linker, err := kernel.Interpreter(d.Program)
		if err != nil || linker == "" {
			continue
		}
		listed := slices.ContainsFunc(d.Files, func(f image.File) bool {
			return f.Path == linker || strings.HasPrefix(linker, strings.TrimSuffix(f.Path, "/")+"/")
		})
		if !listed {
			errs = append(errs, fmt.Errorf("domain %s: %w", d.Name, kernel.Dynamic(d.Program, linker)))
		}
	}
	return errors.Join(errs...)
}

// buildAll builds the Go packages of `build:` domains, each once, and returns
// the executables by domain. It says what it does on w.
func buildAll(ctx context.Context, w io.Writer, dir, system string, packages map[string]string) (map[string]string, error) {
	programs := map[string]string{}
	if len(packages) == 0 {
		return programs, nil
	}
	cache, err := cacheDir(system, dir)
	if err != nil {
		return nil, err
	}
	for _, domain := range slices.Sorted(maps.Keys(packages)) {
		pkg := packages[domain]
		output := filepath.Join(cache, domain)
		fmt.Fprintf(w, "building %s\n", domain)
		if err := goBuild(ctx, dir, pkg, output); err != nil {
			return nil, err
		}
		programs[domain] = output
	}
	return programs, nil
}

// goBuild builds one package statically. The package is written relative to
// the system directory. Through sudo, the build runs as the user who called it:
// a compiler needs no root, and its cache is theirs.
func goBuild(ctx context.Context, dir, pkg, output string) error {
	goCommand, err := exec.LookPath("go")
	if err != nil {
		return badInput("%s must be built, but there is no go command on PATH: install Go, or build first and state `program:`%s", pkg, sudoPath())
	}
	for _, args := range [][]string{
		{"mkdir", "-p", filepath.Dir(output)},
		{goCommand, "build", "-trimpath", "-buildvcs=false", "-o", output, "./" + strings.TrimPrefix(pkg, "./")},
	} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if caller := sudoCaller(); caller != nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &caller.credential}
			cmd.Env = append(cmd.Env, "HOME="+caller.home, "USER="+caller.name, "LOGNAME="+caller.name)
		}
		if out, err := cmd.CombinedOutput(); interrupted(ctx, err) {
			return failed("interrupted while building %s; nothing was started", pkg)
		} else if err != nil {
			return &exitError{exitInput, fmt.Errorf("building %s in %s: %w\n%s", pkg, dir, err, bytes.TrimSpace(out))}
		}
	}
	return nil
}

// interrupted reports whether err, the end of a process, is due to Ctrl-C. On a
// terminal the process has the signal, too, and may end before ctx does.
func interrupted(ctx context.Context, err error) bool {
	var exit *exec.ExitError
	if err == nil {
		return false
	}
	if ctx.Err() != nil {
		return true
	}
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGINT
}

// sudoPath says what hides a program that is installed from whoever calls sudo.
func sudoPath() string {
	if os.Getenv("SUDO_UID") == "" {
		return ""
	}
	return "; sudo sets a PATH of its own: 'sudo env \"PATH=$PATH\" ward ...' keeps yours"
}

// An account is an ordinary user on whose behalf ward runs.
type account struct {
	name, home string
	credential syscall.Credential
}

// sudoCaller is the user who called sudo; nil if nobody did, or root.
func sudoCaller() *account {
	id := os.Getenv("SUDO_UID")
	if os.Geteuid() != 0 || id == "" || id == "0" {
		return nil
	}
	u, err := user.LookupId(id)
	if err != nil {
		return nil
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err1 != nil || err2 != nil {
		return nil
	}
	return &account{u.Username, u.HomeDir, syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

// cacheDir is where the programs of a system are built to: the same place each
// time, so that the image is the same, and another one for each directory.
func cacheDir(system, dir string) (string, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return "", failed("%w", err)
	}
	root, err := os.UserCacheDir()
	if caller := sudoCaller(); caller != nil {
		root = filepath.Join(caller.home, ".cache")
	} else if err != nil {
		// Not in /tmp: whoever made the directory first could change what is run.
		return "", badInput("no directory for built programs: set HOME or XDG_CACHE_HOME (%w)", err)
	}
	return filepath.Join(root, "ward", system+"-"+image.Hash([]byte(absolute))[:12]), nil
}

// beside finds one of Ward's own programs: in the directory of this
// executable, else on PATH.
func beside(name string) (string, error) {
	if self, err := os.Executable(); err == nil {
		path := filepath.Join(filepath.Dir(self), name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", failed("%s is neither beside ward nor on PATH; `make build` builds both", name)
	}
	return filepath.Abs(path)
}
