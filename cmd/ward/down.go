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
		Use:   "down",
		Short: "Stop a running system",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
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
