package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/landlock-lsm/go-landlock/landlock"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"

	"ward/compile"
	"ward/diag"
	"ward/image"
)

// The compiler parses what people wrote: YAML, protobuf, Cedar. It runs in a
// child that holds the source files in memory and can open nothing: no new
// privileges, Landlock without a single path or port, and, if ward runs as
// root, another user. The child answers with findings and an encoded image,
// which image.Decode checks again on this side.

const (
	confinedCommand = "confined-compile"
	compileLimit    = 2 * time.Minute
	maxAnswer       = 64 << 20
	nobody          = 65534 // user and group, as in Debian's base-passwd
)

// compiled is the answer of the child.
type compiled struct {
	Findings   diag.List         `json:"findings,omitempty"`
	Image      []byte            `json:"image,omitempty"`  // nil if a finding is an error
	Build      map[string]string `json:"build,omitempty"`  // Go package to build, by domain
	Bounds     []boundNote       `json:"bounds,omitempty"` // parameters without a bound of their own
	Unenforced []ruleNote        `json:"unenforced,omitempty"`
	Schema     string            `json:"schema,omitempty"`
	Protobuf   []byte            `json:"protobuf,omitempty"` // the interfaces, as a FileDescriptorSet; nil if they have errors
	Generated  []policyNote      `json:"generated,omitempty"`
	Objects    []objectNote      `json:"objects,omitempty"`
	Privileged diag.List         `json:"privileged,omitempty"` // what keeps an ordinary user from starting it
	Confined   string            `json:"confined,omitempty"`   // what confines the child
}

// A boundNote is a parameter that has Ward's default bound.
type boundNote struct {
	Field string   `json:"field"`
	Bound string   `json:"bound"`
	Pos   diag.Pos `json:"pos"`
}

// A ruleNote is a rule that the receiving library checks, not the kernel.
type ruleNote struct {
	Field string   `json:"field"`
	Rule  string   `json:"rule"`
	Pos   diag.Pos `json:"pos"`
}

// A policyNote is a policy that Ward made.
type policyNote struct {
	ID     string   `json:"id"`
	Effect string   `json:"effect"`
	Source string   `json:"source"`
	Grants []string `json:"grants,omitempty"` // in words
}

// compileDirectory compiles dir in a confined child.
func compileDirectory(ctx context.Context, dir string) (*compiled, error) {
	c := new(compiled)
	return c, runConfined(ctx, dir, c, confinedCommand)
}

// runConfined runs a hidden command in a confined child, with the source files
// of dir on its standard input, and decodes its answer.
func runConfined(ctx context.Context, dir string, answer any, command ...string) error {
	return runConfinedWith(ctx, dir, nil, answer, command...)
}

// An extra is a file that a confined child gets beside those of the directory.
type extra struct {
	name string // must not be one that the directory could have
	data []byte
}

func runConfinedWith(ctx context.Context, dir string, more *extra, answer any, command ...string) error {
	var sources bytes.Buffer
	if err := packDirectory(&sources, dir, more); err != nil {
		return badInput("%w", err)
	}
	return runChild(ctx, &sources, answer, command...)
}

// runChild runs a hidden command in a confined child, and decodes its answer.
func runChild(ctx context.Context, input io.Reader, answer any, command ...string) error {
	limited, cancel := context.WithTimeout(ctx, compileLimit)
	defer cancel()
	child := exec.CommandContext(limited, "/proc/self/exe", command...)
	child.Args[0] = os.Args[0]
	child.Stdin = input
	child.Env = []string{"GOTRACEBACK=none"}
	child.SysProcAttr = confinedAttributes()
	out := &bounded{limit: maxAnswer}
	var complaint bytes.Buffer
	child.Stdout, child.Stderr = out, &bounded{buffer: &complaint, limit: 64 << 10}
	switch err := child.Run(); {
	case interrupted(ctx, err):
		return failed("interrupted while compiling; nothing was changed")
	case err != nil && limited.Err() != nil:
		return failed("the compiler did not finish within %v", compileLimit)
	case err != nil:
		return failed("the compiler did not finish: %w\n%s", err, bytes.TrimSpace(complaint.Bytes()))
	}
	if err := json.Unmarshal(out.bytes(), answer); err != nil {
		return failed("answer of the compiler: %w", err)
	}
	return nil
}

// confinedAttributes lets the child run as an ordinary user if this process
// is root.
func confinedAttributes() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 {
		a.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	return a
}

func newConfined() *cobra.Command {
	return &cobra.Command{
		Use: confinedCommand, Hidden: true, Args: cobra.NoArgs,
		Short: "Compile the archive on standard input (the confined child of the other commands)",
		RunE: func(cmd *cobra.Command, _ []string) error {
			how, err := confine()
			if err != nil {
				return failed("confine the compiler: %w", err)
			}
			files, err := unpackDirectory(os.Stdin)
			if err != nil {
				return badInput("archive: %w", err)
			}
			digests, err := pinnedDigests(files)
			if err != nil {
				return badInput("digests: %w", err)
			}
			result, findings := compile.Pinned(files, digests)
			examine(files, result, &findings)
			answer := answerOf(result, findings)
			answer.Confined = how
			out := bufio.NewWriter(os.Stdout)
			if err := errors.Join(json.NewEncoder(out).Encode(answer), out.Flush()); err != nil {
				return failed("%w", err)
			}
			return nil
		},
	}
}

// confine gives up for good what the compiler does not need. It reports what
// is in force.
func confine() (string, error) {
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 64, Max: 64}); err != nil {
		return "", err
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: maxAnswer, Max: maxAnswer}); err != nil {
		return "", err
	}
	// On all threads, with or without cgo.
	if _, _, err := psx.Syscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); err != 0 {
		return "", fmt.Errorf("no_new_privs: %w", err)
	}
	// Best effort is right here: where the kernel has no Landlock, the child is
	// still another user without privileges, and the image is checked again.
	if err := landlock.V7.BestEffort().Restrict(); err != nil {
		return "no_new_privs, no Landlock", nil
	}
	return "no_new_privs, Landlock", nil
}

// answerOf collects what the commands show.
func answerOf(r *compile.Result, findings diag.List) *compiled {
	findings.Sort()
	c := &compiled{Findings: findings, Build: map[string]string{}}
	if r.Set != nil && len(r.Set.Services) > 0 {
		// Also if the policy has errors: code is generated before there is one.
		var err error
		if c.Protobuf, err = r.Set.Descriptors(); err != nil {
			c.Findings.Errorf(diag.Pos{}, "", "encode the interfaces: %v", err)
			return c
		}
	}
	if r.Image == nil || findings.Failed() {
		return c
	}
	c.Schema = r.Schema
	for _, d := range r.System.Domains {
		if d.Build.Value != "" {
			c.Build[d.Name.Value] = d.Build.Value
		}
	}
	c.Image = image.Encode(r.Image)
	notes(c, r)
	c.Privileged = r.Privileged()
	return c
}

// bounded keeps at most limit bytes and fails on the next.
type bounded struct {
	buffer *bytes.Buffer
	limit  int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.buffer == nil {
		b.buffer = new(bytes.Buffer)
	}
	if b.buffer.Len()+len(p) > b.limit {
		return 0, errors.New("more than " + strconv.Itoa(b.limit) + " bytes")
	}
	return b.buffer.Write(p)
}

func (b *bounded) bytes() []byte {
	if b.buffer == nil {
		return nil
	}
	return b.buffer.Bytes()
}

var _ io.Writer = (*bounded)(nil)
