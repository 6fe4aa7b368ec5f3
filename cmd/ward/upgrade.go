package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ward/monitor/admin"
)

// upgradeLimit bounds the question; the processes come back within a second.
const upgradeLimit = 10 * time.Second

func newUpgrade() *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use:   "upgrade [SYSTEM]",
		Short: "Replace the wardd of a running system by the program that is installed now",
		Long: `Start the monitor, the creator and the audit writer of a running system again, from
the wardd that stands now where the running one was started from: install the new one
there first. Only root may.

Domains go on, and so do their gates, calls, states and rights. The holder, the first
process, is replaced by 'ward down' and 'ward up' only.`,
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
			ctx, cancel := context.WithTimeout(cmd.Context(), upgradeLimit)
			defer cancel()
			if err := admin.Upgrade(ctx, dir); err != nil {
				return failed("%w", err)
			}
			if wantJSON(cmd) {
				return sayDone(cmd, "upgrade", dir)
			}
			fmt.Fprintln(cmd.OutOrStdout(), "the processes of wardd are being started again; 'ward audit' tells how it goes")
			return nil
		},
	}
	systemFlag(cmd, &from)
	return cmd
}
