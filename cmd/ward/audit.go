package main

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ward/audit"
)

func newAudit() *cobra.Command {
	var from, domain, verdict, event string
	var follow, previous bool
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Show what was decided",
		Long: `Show the audit records of a system: each start, publication, lookup and gate,
each denied message, and the allowed ones that the policy asks for. Records that
were lost are counted and shown whatever the filter says. Those of the run before
are kept until the next one begins: --previous.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if verdict != "" && verdict != audit.Allow && verdict != audit.Deny {
				return badInput("--verdict is %q; it must be %s or %s", verdict, audit.Allow, audit.Deny)
			}
			if event != "" && !slices.Contains(audit.Events, event) {
				return badInput("--event is %q, which there is none of%s", event, orElse(event, audit.Events, "events are "+strings.Join(audit.Events, ", ")))
			}
			dir, err := systemDir(from)
			if err != nil {
				return err
			}
			noteFull(cmd, dir)
			path := auditIn(dir)
			if previous {
				if path += ".1"; follow {
					return badInput("--follow waits for what is recorded now, --previous shows what was recorded before")
				}
				if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
					return failed("no records are left of a run of %s before the last one", nameOf(dir))
				}
			}
			filter := audit.Filter{Domain: domain, Verdict: verdict, Event: event}
			records := audit.Read(path, filter)
			if follow {
				records = audit.Follow(cmd.Context(), path, filter)
			}
			told := 0
			counted := func(yield func(audit.Record, error) bool) {
				for r, err := range records {
					told++
					if !yield(r, err) {
						return
					}
				}
			}
			if err := tellAll(newTeller(cmd.OutOrStdout(), wantJSON(cmd)), counted, path); err != nil || told > 0 || domain == "" || follow {
				return err
			}
			return inRecords(path, nameOf(dir), domain)
		},
	}
	systemFlag(cmd, &from)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "wait for more, until the system stops")
	cmd.Flags().BoolVarP(&previous, "previous", "p", false, "the records of the run before")
	cmd.Flags().StringVar(&domain, "domain", "", "only records about this domain")
	cmd.Flags().StringVar(&verdict, "verdict", "", "only records with this verdict: allow or deny")
	cmd.Flags().StringVar(&event, "event", "", "only this event: started, gate, call, …")
	flagWords(cmd, "domain", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return domainsHere(cmd), cobra.ShellCompDirectiveNoFileComp
	})
	flagWords(cmd, "verdict", oneOf(audit.Allow, audit.Deny))
	flagWords(cmd, "event", oneOf(audit.Events...))
	return cmd
}

// auditIn is the audit file in a run directory.
func auditIn(dir string) string { return filepath.Join(dir, audit.File) }

// inRecords refuses a name that no record of a system, in path, has: a mistyped one
// would look like one of which nothing was decided.
func inRecords(path, system, name string) error {
	names := map[string]bool{}
	for r, err := range audit.Read(path, audit.Filter{}) {
		if err != nil {
			return failed("%w", err)
		}
		names[r.Domain], names[r.From], names[r.To] = true, true, true
	}
	if names[name] {
		return nil
	}
	delete(names, "")
	known := slices.Sorted(maps.Keys(names))
	return failed("no record of %s names %q%s", system, name, orElse(name, known, "they name "+strings.Join(known[:min(len(known), 20)], ", ")))
}

func tellAll(t *teller, records iter.Seq2[audit.Record, error], path string) error {
	for r, err := range records {
		switch {
		case errors.Is(err, fs.ErrPermission):
			return failed("%s: only root may read it; run it through sudo", path)
		case errors.Is(err, context.Canceled):
			return nil
		case err != nil:
			return failed("%w", err)
		}
		if t.tell(&r); t.fault != nil {
			return failed("%w", t.fault)
		}
	}
	return nil
}
