package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"ward/monitor/admin"
)

// downLimit is how long an ordered stop may take: domains get SIGTERM, and
// SIGKILL some seconds later.
const downLimit = 20 * time.Second

func newDown() *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use:   "down [SYSTEM]",
		Short: "Stop a running system",
		Args:  cobra.MaximumNArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return runningSystems(), cobra.ShellCompDirectiveNoFileComp
		},
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
			ctx, cancel := context.WithTimeout(cmd.Context(), downLimit)
			defer cancel()
			if err := admin.Down(ctx, dir); err != nil {
				return failed("%w", err)
			}
			if err := gone(ctx, filepath.Join(dir, admin.Socket)); err != nil {
				return failed("%s has not stopped within %v", nameOf(dir), downLimit)
			}
			if !wantJSON(cmd) {
				fmt.Fprintln(cmd.OutOrStdout(), nameOf(dir), "is down")
			}
			return nil
		},
	}
	systemFlag(cmd, &from)
	return cmd
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
