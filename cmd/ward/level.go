package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"ward/abi"
	"ward/image"
	"ward/monitor/admin"
)

// Levels of enforcement, by the names that --level takes.
var (
	kernelLevel  = abi.LevelKernel.String()
	libraryLevel = abi.LevelLibrary.String()
)

func levelFlag(cmd *cobra.Command, level *string) {
	cmd.Flags().StringVar(level, "level", kernelLevel, "what checks the parameters of messages: kernel, or library, which needs no root and protects less")
	flagWords(cmd, "level", oneOf(kernelLevel, libraryLevel))
}

// checkLevel refuses a level that the caller's user ID does not fit. The weaker
// one is never taken unless it was asked for by name.
func checkLevel(level string) error {
	switch {
	case level == kernelLevel && os.Geteuid() != 0:
		return badInput("starting domains (user IDs, namespaces, filters in the kernel) needs root: run it through sudo, or ask for less protection with --level %s", libraryLevel)
	case level == libraryLevel && os.Geteuid() == 0:
		return badInput("--level %s is for ordinary users: root gets the kernel's own check of parameters without it", libraryLevel)
	case level != kernelLevel && level != libraryLevel:
		return badInput("--level %s: there are %s and %s", level, kernelLevel, libraryLevel)
	}
	return nil
}

// unprivileged makes the image of a system that an ordinary user starts: sockets
// of exports are left out, and it says so.
//
// Preconditions: img has no obstacles (refuseLevel).
func unprivileged(cmd *cobra.Command, img *image.Image) ([]byte, error) {
	if err := makeRunRoot(); err != nil {
		return nil, failed("%w", err)
	}
	for i := range img.Domains {
		d := &img.Domains[i]
		for j := range d.Exports {
			if e := &d.Exports[j]; e.Socket != "" {
				fmt.Fprintf(cmd.ErrOrStderr(), "ward: at the level %s the socket %s of %s is not made: programs outside cannot call it\n", libraryLevel, e.Socket, d.Name)
				e.Socket = ""
			}
		}
	}
	if err := img.Check(); err != nil {
		return nil, failed("image: %w", err)
	}
	return image.Encode(img), nil
}

// refuseLevel says why a system cannot run at the level library, with the places
// if it is a directory.
func refuseLevel(cmd *cobra.Command, path string, list []image.Obstacle) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		c, err := compileDirectory(cmd.Context(), path)
		if err != nil {
			return err
		}
		w := cmd.ErrOrStderr()
		if wantJSON(cmd) {
			w = cmd.OutOrStdout()
		}
		if printFindings(w, path, c.Privileged, wantJSON(cmd)); len(c.Privileged) > 0 {
			return badInput("for what is listed above, the system cannot run at the level %s", libraryLevel)
		}
	}
	var errs []error
	for i := range list {
		errs = append(errs, &list[i])
	}
	return badInput("the system cannot run at the level %s: start it as root, or take out:\n%w", libraryLevel, errors.Join(errs...))
}

// ownSystems is where the systems of this user are: of an ordinary one in the
// directory that the session manager made for him, or in one that only he can
// have made.
func ownSystems() string {
	if os.Geteuid() == 0 {
		return rootsSystems
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" && isPrivate(dir) {
		return filepath.Join(dir, "ward")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("ward-%d", os.Geteuid()))
}

// isPrivate reports whether a directory is this user's, and nobody else's.
func isPrivate(dir string) bool {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || info.Mode().Perm()&0o077 != 0 {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

// makeRunRoot makes the directory of this user's systems. In a directory that
// all may write, what is there already must be this user's.
func makeRunRoot() error {
	if os.Geteuid() == 0 {
		return os.MkdirAll(runRoot, 0o755)
	}
	if err := os.Mkdir(runRoot, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if !isPrivate(runRoot) {
		return fmt.Errorf("%s is not a directory of this user that nobody else may enter", runRoot)
	}
	return nil
}

// changeable refuses a system at the level library, before anything is compiled or
// built for it: its monitor would refuse every change. Root's systems are not asked:
// they have the other level, and a user may ask their monitor so often only.
func changeable(ctx context.Context, dir string) error {
	if filepath.Dir(dir) == rootsSystems {
		return nil
	}
	domains, err := admin.PS(ctx, dir)
	if err != nil {
		return failed("%w", err)
	}
	if len(domains) > 0 && domains[0].Level == libraryLevel {
		return failed("%s runs at the level %s, at which nothing of a running system is changed: its filters are locked as they are, and no monitor takes over from another one. "+
			"Nothing was changed: stop it with 'ward down', and start it with 'ward up --level %[2]s', which takes the policy as it is then", nameOf(dir), libraryLevel)
	}
	return nil
}

// asUser lets wardd start in a user namespace in which the caller is 0, and the
// only user, if the caller is an ordinary user.
func asUser(cmd *exec.Cmd, system string) {
	if os.Geteuid() == 0 {
		return
	}
	cmd.Args = append(cmd.Args, "--level="+libraryLevel, "--run-dir="+filepath.Join(runRoot, system))
	// The network namespace, too: wardd can come back only to one that is its own.
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET
	cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
}

// libraryPossible reports whether ordinary users of this host can start a system:
// it makes the namespaces that one is started in, and ends them at once.
func libraryPossible() bool {
	if os.Geteuid() == 0 {
		return namespacesOpen()
	}
	cmd := exec.Command("/proc/self/exe", "version")
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	asUser(cmd, "")
	cmd.Args = cmd.Args[:2]
	return cmd.Run() == nil
}

// namespacesOpen reports whether the host's settings let ordinary users make user namespaces.
func namespacesOpen() bool {
	for name, closed := range map[string]string{"user/max_user_namespaces": "0", "kernel/unprivileged_userns_clone": "0", "kernel/apparmor_restrict_unprivileged_userns": "1"} {
		b, err := os.ReadFile("/proc/sys/" + name)
		if err == nil && strings.TrimSpace(string(b)) == closed {
			return false
		}
	}
	return true
}

// libraryLine says what ordinary users can have.
func libraryLine() string {
	if !libraryPossible() {
		return "Ordinary users cannot start systems: there are no user namespaces for them (docs/unprivileged.md)"
	}
	return "Ordinary users can start systems at the level library (ward up --level library): the kernel checks methods and sizes of messages, the receivers' libraries the parameters"
}
