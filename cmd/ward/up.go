package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"ward/audit"
	"ward/holder/lifeline"
	"ward/holder/link"
	"ward/image"
	"ward/kernel"
)

// tellLimit is how long `ward up` waits for the last audit records once wardd
// has said that it is done.
const tellLimit = 2 * time.Second

func newUp() *cobra.Command {
	var untilDone bool
	var level string
	cmd := &cobra.Command{
		Use:   "up DIR|IMAGE",
		Short: "Build, compile and start a system, and follow it until it stops",
		Long: `Build the programs of a system directory, compile it, start it, and tell what
happens. An image made by 'ward compile -o' is started as it is. Ctrl-C or SIGTERM
stops all domains; so does the end of ward itself, in whatever way.

Needs root: domains get user IDs, namespaces and a policy in the kernel. With
--level library an ordinary user starts a system, in a user namespace: the kernel
checks methods and sizes of messages, the receivers' libraries the parameters.
docs/unprivileged.md says what that protects, and what not.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: paths(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			asked := serviceManager()
			if err := checkLevel(level); err != nil {
				return err
			}
			archive, err := sourcesOf(args[0])
			if err != nil {
				return err
			}
			encoded, img, err := imageOf(cmd, args[0], func(img *image.Image) error {
				if err := notTaken(img.Name); err != nil {
					return err
				}
				if list := img.Unprivileged(); level == libraryLevel && len(list) > 0 {
					return refuseLevel(cmd, args[0], list)
				}
				if name := img.HasSecrets(); name != "" {
					if err := kernel.SecretMemory(); err != nil {
						return failed("%s does not start here: its object %s is secret: %w", img.Name, name, err)
					}
				}
				if untilDone && !slices.ContainsFunc(img.Domains, func(d image.Domain) bool { return d.Once }) {
					return badInput("--until-done: no domain of %s has `once: true`, so it would never be done", img.Name)
				}
				if level == kernelLevel {
					return disksBounded(img)
				}
				return nil
			})
			if err != nil {
				return err
			}
			if level == libraryLevel {
				if encoded, err = unprivileged(cmd, img); err != nil {
					return err
				}
			}
			if err := linkable(img); err != nil {
				return badInput("%w", err)
			}
			if err := required(img, nil); err != nil {
				return err
			}
			if err := notTaken(img.Name); err != nil { // it may have been started while this one was built
				return err
			}
			noteSource(img.Name, args[0])
			return supervise(cmd, args[0], encoded, img, archive, untilDone, asked)
		},
	}
	cmd.Flags().BoolVar(&untilDone, "until-done", false, "stop when every domain with 'once: true' has ended; exit 1 if one failed")
	levelFlag(cmd, &level)
	return cmd
}

// imageOf reads an image, or makes one of a directory, of a system that suits.
func imageOf(cmd *cobra.Command, path string, suits func(*image.Image) error) ([]byte, *image.Image, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, badInput("%w", err)
	}
	if info.IsDir() {
		return makeSuitable(cmd, path, suits)
	}
	encoded, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, badInput("%w", err)
	}
	img, err := image.Decode(encoded)
	if err != nil && filepath.Base(path) == "system.yaml" {
		return nil, nil, badInput("%s is not a directory: give the one that holds system.yaml", path)
	}
	if err != nil {
		return nil, nil, badInput("%s: neither a system directory nor a policy image: %w", path, err)
	}
	return encoded, img, suits(img)
}

// sourcesOf archives a system directory; of an image there is nothing.
func sourcesOf(path string) ([]byte, error) {
	if info, err := os.Stat(path); err != nil {
		return nil, badInput("%w", err)
	} else if !info.IsDir() {
		return nil, nil
	}
	return packed(path)
}

// supervise runs wardd until it has stopped, and tells its story. path is what the
// system was started from.
func supervise(cmd *cobra.Command, path string, encoded []byte, img *image.Image, archive []byte, untilDone bool, asked manager) error {
	slot, err := takeSlot()
	if err != nil {
		return err
	}
	defer slot.release()
	clearEnded(img.Name)
	since := time.Now() // the audit file of an earlier run may still be there
	w, err := startWardd(encoded, img, slot.number, untilDone)
	if err != nil {
		return err
	}
	defer w.line.Close()

	teller := newTeller(cmd.OutOrStdout(), wantJSON(cmd))
	teller.rings = map[int32]string{}
	for _, d := range img.Domains {
		teller.rings[d.Ring.Level] = d.Ring.Name
	}
	told := make(chan error, 1)
	tell, stopTelling := context.WithCancel(context.WithoutCancel(cmd.Context()))
	defer stopTelling()
	go func() { told <- follow(tell, teller, img.Name, since) }()

	reports := w.reports()
	var fatal string
	status, ended, stopped := exitFailed, false, false
	interrupted := cmd.Context().Done()
	for !ended {
		select {
		case <-interrupted:
			interrupted, stopped = nil, true
			asked.tell("STOPPING=1")
			if !wantJSON(cmd) {
				fmt.Fprintln(cmd.ErrOrStderr(), "stopping")
			}
			w.stop()
		case r, ok := <-reports:
			switch {
			case !ok:
				ended = true
			case r.Kind == lifeline.Ready:
				if err := keepSources(filepath.Join(runRoot, img.Name), archive, "", image.Hash(image.Encode(img))); err != nil {
					fmt.Fprintf(cmd.ErrOrStderr(), "ward: 'ward revoke' and 'ward grant' will not work: %v\n", err)
				}
				asked.tell("READY=1\nSTATUS=" + img.Name + ": all domains are started")
			case r.Kind == lifeline.Fatal:
				fatal = r.Text
			case r.Kind == lifeline.Stopped:
				status = int(r.Status)
			}
		}
	}
	waited := w.cmd.Wait()
	orphans := endOrphans(img.Name, waited)

	// The last records are in the file; the follower ends at `stopped`.
	timer := time.AfterFunc(tellLimit, stopTelling)
	err = <-told
	timer.Stop()
	noteFull(cmd, filepath.Join(runRoot, img.Name))
	if stopped {
		status = 0 // what ended then, ended because it was told to
	}
	if fatal != "" {
		fatal += startAdvice(path, img, fatal)
	}
	return verdict(cmd, teller, img, fatal, status, errors.Join(err, endOf(waited, fatal), orphans))
}

// verdict prints the last line and turns the end of the system into an error.
func verdict(cmd *cobra.Command, t *teller, img *image.Image, fatal string, status int, err error) error {
	if fatal != "" && !t.json && t.tally.nothing() {
		return failed("%s", fatal) // it never ran: there is nothing to sum up
	}
	if !t.json {
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", img.Name, t.tally.sum())
	} else {
		t.keep(jsonLines(t.out).Encode(struct {
			Event   string   `json:"event"`
			Time    string   `json:"time"`
			System  string   `json:"system"`
			Allowed int      `json:"allowed"`
			Denied  int      `json:"denied"`
			Opened  int      `json:"gates_opened"`
			Refused int      `json:"gates_refused"`
			Lost    uint64   `json:"lost"`
			Failed  []string `json:"failed,omitempty"`
		}{"summary", time.Now().UTC().Format(time.RFC3339Nano), img.Name, t.tally.allowed, t.tally.denied,
			t.tally.opened, t.tally.refused, t.tally.lost, t.tally.failed}))
	}
	switch {
	case fatal != "":
		return failed("%s", fatal)
	case err != nil:
		return failed("%w", err)
	case status != 0 && len(t.tally.failed) > 0:
		return failed("failed: %s; 'ward logs --system %s DOMAIN' shows what one wrote", strings.Join(t.tally.failed, ", "), img.Name)
	case status != 0:
		return failed("the system did not end well")
	case t.fault != nil:
		return failed("%w", t.fault)
	}
	return nil
}

// endOf is the error of wardd's own end, unless it has said why already. One that
// was killed could not say anything, and nobody else of wardd is left to.
func endOf(err error, fatal string) error {
	var exit *exec.ExitError
	killed := errors.As(err, &exit) && exit.ExitCode() < 0
	switch {
	case err == nil || fatal != "" || exit != nil && exit.ExitCode() == exitFailed:
		return nil
	case killed:
		return fmt.Errorf("the first process of wardd was ended from outside (%w), and the system with it: its gates let nothing pass any more, and its domains are killed; start it again with 'ward up'", err)
	}
	return fmt.Errorf("wardd: %w", err)
}

// endOrphans ends what is left of a system whose wardd was killed, the creator,
// which would have done it, perhaps with it.
func endOrphans(system string, err error) error {
	var exit *exec.ExitError
	if os.Geteuid() != 0 || !errors.As(err, &exit) || exit.ExitCode() >= 0 {
		return nil
	}
	return kernel.EndOrphans(system)
}

// follow tells the records of a system until it has stopped.
func follow(ctx context.Context, t *teller, system string, since time.Time) error {
	path := filepath.Join(runRoot, system, audit.File)
	for r, err := range audit.Follow(ctx, path, audit.Filter{Since: since}) {
		if err != nil {
			return err
		}
		t.tell(&r)
	}
	return nil
}

// wardd is the running privileged side.
type wardd struct {
	cmd  *exec.Cmd
	line *os.File
}

// startWardd starts wardd with the sealed image and one end of a life line.
func startWardd(encoded []byte, img *image.Image, slot int, untilDone bool) (*wardd, error) {
	path, err := beside("wardd")
	if err != nil {
		return nil, err
	}
	args := []string{"--name=" + img.Name, fmt.Sprintf("--slot=%d", slot), fmt.Sprintf("--until-done=%t", untilDone)}
	if longest := graceIn(img); longest > 0 {
		args = append(args, fmt.Sprintf("--longest-grace=%v", longest))
	}
	if slices.ContainsFunc(img.Domains, func(d image.Domain) bool { return d.Names && d.Program == "" }) {
		names, err := beside("ward-names")
		if err != nil {
			return nil, err
		}
		args = append(args, "--names-program="+names)
	}
	sealed, err := link.Seal(encoded)
	if err != nil {
		return nil, failed("%w", err)
	}
	defer sealed.Close()
	ours, theirs, err := lifeline.New()
	if err != nil {
		return nil, failed("%w", err)
	}
	defer theirs.Close()
	cmd := exec.Command(path, args...)
	cmd.ExtraFiles = []*os.File{sealed, theirs} // ImageFD, LifeLineFD
	cmd.Stderr = os.Stderr
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	// A process group of its own: Ctrl-C on the terminal is ward's to handle.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	asUser(cmd, img.Name)
	if err := cmd.Start(); err != nil {
		ours.Close()
		return nil, failed("%w", err)
	}
	return &wardd{cmd, ours}, nil
}

// reports reads the life line to its end.
func (w *wardd) reports() <-chan lifeline.Report {
	reports := make(chan lifeline.Report)
	go func() {
		defer close(reports)
		for {
			r, err := lifeline.Read(w.line)
			if err != nil {
				if !errors.Is(err, io.EOF) {
					reports <- lifeline.Report{Kind: lifeline.Fatal, Text: "life line of wardd: " + err.Error()}
				}
				return
			}
			reports <- r
		}
	}()
	return reports
}

// stop asks for an ordered stop: it ends our direction of the life line, and
// leaves the other open for the last reports.
func (w *wardd) stop() {
	conn, err := w.line.SyscallConn()
	if err == nil {
		conn.Control(func(fd uintptr) { syscall.Shutdown(int(fd), syscall.SHUT_WR) })
	}
}
