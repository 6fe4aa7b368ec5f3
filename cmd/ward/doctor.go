package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ward/kernel/probe"
)

func newDoctor() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Show which mechanisms of the kernel Ward finds here, and the level in force",
		Long: `Ask the running kernel for each mechanism that Ward builds on: yes, no, or don't
know (some need root to find out), and what Ward does without it.

Levels: full (everything), floor (all that is needed, as on Linux 6.1), unsupported.
Exit status 1 if Ward cannot run here, or an ordinary user cannot find that out.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			results := probe.All()
			level, missing := probe.LevelOf(results)
			out := cmd.OutOrStdout()
			var err error
			if wantJSON(cmd) {
				err = doctorJSON(out, results, level)
			} else {
				err = doctorText(out, results, level, missing)
			}
			if err != nil {
				return failed("%w", err)
			}
			if level == probe.Unsupported {
				return &exitError{status: exitFailed}
			}
			return nil
		},
	}
}

func doctorJSON(out io.Writer, results []probe.Result, level probe.Level) error {
	e := jsonLines(out)
	for _, r := range results {
		if err := e.Encode(map[string]any{"event": "mechanism", "name": r.Name, "answer": r.Answer.String(), "detail": r.Detail,
			"since": r.Since, "needed": r.Needed, "use": r.Use, "without": r.Without}); err != nil {
			return err
		}
	}
	return e.Encode(map[string]any{"event": "level", "level": levelName(results, level), "kernel": release(), "library": libraryPossible()})
}

func doctorText(out io.Writer, results []probe.Result, level probe.Level, missing []string) error {
	s := styleFor(out)
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	for _, r := range results {
		what := r.Use
		if r.Answer != probe.Yes {
			what = "without: " + r.Without
			if r.Needed {
				what = "needed: " + r.Use + " (Linux " + r.Since + ")"
			}
		}
		answer := r.Answer.String()
		if r.Detail != "" {
			answer += " (" + r.Detail + ")"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", r.Name, answer, what)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	name := levelName(results, level)
	line := fmt.Sprintf("Linux %s, level in force: %s", release(), s.bold(name))
	switch {
	case name == levelUnknown:
		line += ": only root can find out, run it through sudo"
	case len(missing) > 0:
		line += "; without: " + strings.Join(missing, ", ")
	}
	if _, err := fmt.Fprintln(out, line); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, libraryLine())
	return err
}

// levelUnknown is said where a user may not ask the kernel for what is needed.
const levelUnknown = "unknown"

// levelName names a level. That a user cannot find out whether there is what is
// needed does not make a system unsupported.
func levelName(results []probe.Result, level probe.Level) string {
	needed := func(a probe.Answer) bool {
		return slices.ContainsFunc(results, func(r probe.Result) bool { return r.Needed && r.Answer == a })
	}
	if os.Geteuid() != 0 && needed(probe.Unknown) && !needed(probe.No) {
		return levelUnknown
	}
	return level.String()
}

func release() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(name.Release[:])
}
