package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"ward/audit"
	"ward/monitor/admin"
)

func newLogs() *cobra.Command {
	var from string
	var follow, previous bool
	cmd := &cobra.Command{
		Use:   "logs DOMAIN",
		Short: "Show what a domain wrote to its standard output and standard error",
		Long: `Show what a domain wrote to its standard output and standard error since the system
was started: its last output, 256 to 512 KiB, of all its processes one after the other.
--previous shows what is left of runs before this one.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: oneDomain,
		RunE: func(cmd *cobra.Command, args []string) error {
			if follow && previous {
				return badInput("--follow waits for what is written now, --previous shows what was written before")
			}
			dir, err := systemDir(from)
			if err != nil {
				return err
			}
			var out io.Writer = cmd.OutOrStdout()
			name := filepath.Base(args[0])
			switch {
			case wantJSON(cmd):
				lines := &outputLines{to: jsonLines(out), domain: name}
				defer lines.end()
				out = lines
			case isTerminal(out):
				out = plainWriter{out}
			}
			if _, err := os.ReadDir(filepath.Join(dir, audit.LogDir)); errors.Is(err, fs.ErrPermission) {
				return unreadable(logOf(dir, name), err)
			}
			noteFull(cmd, dir)
			paths := logFiles(dir, name, previous)
			if len(paths) == 0 && follow && slices.Contains(domainsIn(cmd.Context(), dir), name) {
				if paths = awaitLog(cmd.Context(), dir, name); len(paths) == 0 {
					return nil // it has ended, and wrote nothing
				}
			}
			if len(paths) == 0 {
				return noLog(cmd.Context(), dir, name, previous)
			}
			for i, path := range paths {
				if err := copyFile(cmd.Context(), out, path, follow && i == len(paths)-1, filepath.Join(dir, admin.Socket)); err != nil {
					return unreadable(path, err)
				}
			}
			return nil
		},
	}
	systemFlag(cmd, &from)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "wait for more, until the system stops")
	cmd.Flags().BoolVarP(&previous, "previous", "p", false, "what was written before the system was started the last time")
	return cmd
}

// logOf is the file of a domain's log in a run directory.
func logOf(dir, domain string) string { return filepath.Join(dir, audit.LogDir, domain) }

// copyFile is copyLog of a file that may have been put aside in this moment.
func copyFile(ctx context.Context, out io.Writer, path string, follow bool, socket string) error {
	log, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer log.Close()
	return copyLog(ctx, out, log, follow, socket)
}

// unreadable is the error of a log of domains, which only root may read.
func unreadable(path string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return failed("%s: only root may read it; run it through sudo", path)
	}
	return failed("%w", err)
}

// copyLog copies log and, if follow is set, what is appended to it while
// socket exists. A log that was put aside for a new one is followed to its
// end, then the new one.
func copyLog(ctx context.Context, out io.Writer, log *os.File, follow bool, socket string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		_, running := os.Lstat(socket)
		if _, err := io.Copy(out, log); err != nil || !follow || running != nil {
			return err
		}
		if next, err := os.Open(log.Name()); err == nil {
			old, err1 := log.Stat()
			now, err2 := next.Stat()
			if err1 == nil && err2 == nil && !os.SameFile(old, now) {
				if _, err := io.Copy(out, log); err != nil {
					return err
				}
				defer next.Close()
				log = next
				continue
			}
			next.Close()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
