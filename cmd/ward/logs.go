package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"ward/audit"
	"ward/monitor/admin"
)

func newLogs() *cobra.Command {
	var from string
	var follow bool
	cmd := &cobra.Command{
		Use:               "logs DOMAIN",
		Short:             "Show what a domain wrote to its standard output and standard error",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: oneDomain,
		RunE: func(cmd *cobra.Command, args []string) error {
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
			path := filepath.Join(dir, audit.LogDir, name)
			older, err := os.Open(path + ".1")
			if err == nil {
				_, err = io.Copy(out, older)
				older.Close()
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return unreadable(path, err)
			}
			log, err := os.Open(path)
			if errors.Is(err, fs.ErrNotExist) {
				return noLog(cmd.Context(), dir, name)
			}
			if err != nil {
				return unreadable(path, err)
			}
			defer log.Close()
			if err := copyLog(cmd.Context(), out, log, follow, filepath.Join(dir, admin.Socket)); err != nil {
				return failed("%w", err)
			}
			return nil
		},
	}
	systemFlag(cmd, &from)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "wait for more, until the system stops")
	return cmd
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
