package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"ward/kernel"
	"ward/monitor/admin"
)

// downLimit is how long an ordered stop may take: domains get SIGTERM, and
// SIGKILL some seconds later.
const downLimit = 20 * time.Second

func newDown() *cobra.Command {
	var from string
	var force bool
	cmd := &cobra.Command{
		Use:   "down [SYSTEM]",
		Short: "Stop a running system",
		Long: `Stop a running system: its monitor asks all domains to end (SIGTERM), and kills those
that are left after their time of grace. It returns when all have ended.

A monitor that is stopped or stuck does not answer. --force asks it first; if it does
not answer, is stopping already, or has not stopped after 20 seconds, it kills the
first process of wardd, with which everything ends: all gates close, and all domains
are killed, without a time of grace. Only root may.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: oneSystem,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if from != "" && from != args[0] {
					return badInput("%q and --system %q: name one system", args[0], from)
				}
				from = args[0]
			}
			dir, err := systemDir(from)
			if err != nil {
				return err
			}
			if err := down(cmd, dir, force); err != nil {
				return err
			}
			if wantJSON(cmd) {
				return sayDone(cmd, "down", dir)
			}
			fmt.Fprintln(cmd.OutOrStdout(), nameOf(dir), "is down")
			return nil
		},
	}
	systemFlag(cmd, &from)
	cmd.Flags().BoolVar(&force, "force", false, "end it by its first process if the monitor does not answer")
	return cmd
}

// askLimit is how long a monitor has to answer before --force goes on without it.
const askLimit = 5 * time.Second

func down(cmd *cobra.Command, dir string, force bool) error {
	limit, ends := downLimit, downLimit
	if force {
		limit = askLimit
	} else {
		ends += longestGrace(cmd.Context(), dir)
	}
	holder, _ := openHolder(dir) // an error: as if it were not to be seen
	if holder != nil {
		defer holder.Close()
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), limit)
	defer cancel()
	err := admin.Down(ctx, dir)
	if force && err != nil && !errors.Is(err, context.Canceled) {
		return downByForce(cmd, dir, err)
	}
	if errors.Is(err, admin.ErrNotRunning) {
		err = downLater(ctx, dir, err)
	}
	if err != nil && os.Geteuid() == 0 && !lives(dir) && kernel.SystemInUse(nameOf(dir)) {
		return failed("%w: all of wardd was killed, and domains are left of it; 'ward down --force' ends them, and so does 'ward up'", err)
	}
	if err != nil {
		return failed("%w", err)
	}
	err = awaitStopped(cmd, dir, holder, ends, force)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return failed("interrupted while %s is stopping: it goes on with that", nameOf(dir))
	case force:
		return downByForce(cmd, dir, fmt.Errorf("it has not stopped within %v", ends))
	}
	return failed("%s has not stopped within %v; 'ward down --force' ends it at once", nameOf(dir), ends)
}

// gone waits until path does not exist.
func gone(ctx context.Context, path string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
