package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"ward/monitor/admin"
)

// eachLimit is how long one of several systems has to say what it is.
const eachLimit = 2 * time.Second

// A listed is a running system, as `ward ps` shows it where several run.
type listed struct {
	System  string `json:"system"`
	Domains int    `json:"domains"` // with children
	Running int    `json:"running"`
	Level   string `json:"level,omitempty"`
	From    string `json:"from,omitempty"`  // what it was started from, if that is known
	Error   string `json:"error,omitempty"` // why nothing more is known
}

// listSystems lists the running systems of the given names.
func listSystems(cmd *cobra.Command, names []string) error {
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "SYSTEM\tDOMAINS\tRUNNING\tLEVEL\tFROM")
	for _, name := range names {
		s, there := lookAt(cmd.Context(), name)
		switch {
		case !there:
		case wantJSON(cmd):
			if err := jsonLines(cmd.OutOrStdout()).Encode(s); err != nil {
				return failed("%w", err)
			}
		case s.Error != "":
			fmt.Fprintf(w, "%s\t-\t-\t-\t%s\t%s\n", s.System, s.From, s.Error)
		default:
			fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\n", s.System, s.Domains, s.Running, s.Level, printable(s.From))
		}
	}
	if wantJSON(cmd) {
		return nil
	}
	w.Flush()
	if _, err := fmt.Fprint(cmd.OutOrStdout(), table.String()); err != nil {
		return failed("%w", err)
	}
	fmt.Fprintln(cmd.ErrOrStderr(), "ward: several systems run; --system NAME shows the domains of one")
	return nil
}

// lookAt asks a system what it is; !there if it has ended meanwhile.
func lookAt(ctx context.Context, name string) (s listed, there bool) {
	s.System = name
	if from, err := sourceOf(name); err == nil {
		s.From = from
	}
	dir := filepath.Join(runRoot, name)
	if _, err := os.Stat(dir); err != nil && runRoot != rootsSystems {
		dir = filepath.Join(rootsSystems, name)
	}
	ctx, cancel := context.WithTimeout(ctx, eachLimit)
	defer cancel()
	domains, err := admin.PS(ctx, dir)
	switch {
	case errors.Is(err, admin.ErrNotRunning):
		return s, false
	case err != nil:
		s.Error = printable(err.Error())
		return s, true
	}
	for _, d := range domains {
		if d.State == admin.Template || d.State == admin.Mail {
			continue
		}
		s.Level = d.Level
		s.Domains++
		if d.Lives() {
			s.Running++
		}
	}
	return s, true
}
