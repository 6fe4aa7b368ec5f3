package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ward/monitor/admin"
)

// upgradeLimit bounds the question, and then the wait until the processes are
// back, which takes less than a second.
const upgradeLimit = 10 * time.Second

func newUpgrade() *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use:   "upgrade [SYSTEM]",
		Short: "Replace the wardd of a running system by the program that is installed now",
		Long: `Start the monitor, the creator and the audit writer of a running system again, from
the wardd that stands now where the running one was started from: install the new one
there first. It must be root's alone, with all directories above it. Only root may.

Domains go on, and so do their gates, calls, states and rights. The holder, the first
process, is replaced by 'ward down' and 'ward up' only; so are all processes of a
system at the level library. If nothing was replaced the command fails and says why.`,
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
			seen, err := upgrade(cmd.Context(), dir)
			if err != nil {
				return failed("%w", err)
			}
			if wantJSON(cmd) {
				return sayDone(cmd, "upgrade", dir)
			}
			what := "the processes of wardd are being started again"
			if seen {
				what = "the monitor, the creator and the audit writer of " + nameOf(dir) + " were replaced, and it answers"
			}
			fmt.Fprintln(cmd.OutOrStdout(), what+"; 'ward audit' tells how it went")
			return nil
		},
	}
	systemFlag(cmd, &from)
	return cmd
}

// upgrade has the processes of wardd replaced, and waits until the new monitor
// answers. seen: the end of the old ones was seen; from another PID namespace it cannot be.
func upgrade(ctx context.Context, dir string) (seen bool, err error) {
	holder, err := openHolder(dir)
	if err != nil {
		return false, err
	}
	var old []*process // of wardd; nil: they cannot be seen from here
	if holder != nil {
		defer holder.Close()
		for _, p := range holder.children {
			if p.isRoots() { // others are domains whose creator died: they have users of their own
				old = append(old, p)
			}
		}
	}
	asking, cancel := context.WithTimeout(ctx, upgradeLimit)
	defer cancel()
	if err := admin.Upgrade(asking, dir); err != nil {
		return false, err
	}
	end := time.Now().Add(upgradeLimit)
	for _, p := range old {
		if err := p.await(end); err != nil {
			return false, fmt.Errorf("process %d of %s has not ended within %v; 'ward audit' tells more", p.pid, nameOf(dir), upgradeLimit)
		}
		seen = true
	}
	back, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	if _, err := admin.PS(back, dir); err != nil {
		return seen, fmt.Errorf("the processes of %s were ended to be started again, and its monitor does not answer yet: %w", nameOf(dir), err)
	}
	return seen, nil
}

// isRoots reports whether a process runs as root.
func (p *process) isRoots() bool {
	info, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(info)) {
		if rest, ok := strings.CutPrefix(line, "Uid:"); ok {
			ids := strings.Fields(rest)
			return len(ids) > 1 && ids[1] == "0"
		}
	}
	return false
}
