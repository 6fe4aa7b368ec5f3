package main

import (
	"cmp"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"ward/monitor/admin"
)

func newPs() *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use:   "ps [DOMAIN]",
		Short: "Show the domains of a running system, or one whole",
		Long: `Show the domains of a running system: state, process, user ID, ring, gates, and
how many messages were allowed and denied. The state of one that a reload took away
and that has not ended yet is ending. Children stand under the domain that
made them, with their template, what is left of their life time, and what they may
call at most. Of a mailbox a line says who writes, who reads and what waits. The last line says who checks messages: the level. With a name: all
that this domain may do, and the policies that say so; of each quota what it uses
and how much it has, of calls and bytes that wait on gates with the gate where most
do, and how often it ran into one; its children, and what of its quotas it gave to
them. Where several systems run, and none is named, it lists them.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: oneDomain,
		RunE: func(cmd *cobra.Command, args []string) error {
			if running := runningSystems(); from == "" && len(args) == 0 && len(running) > 1 {
				return listSystems(cmd, running)
			}
			dir, err := systemDir(from)
			if err != nil {
				return err
			}
			noteFull(cmd, dir)
			out := cmd.OutOrStdout()
			if len(args) == 1 {
				d, err := admin.Describe(cmd.Context(), dir, args[0])
				if err != nil {
					return cmp.Or(unknownDomain(cmd.Context(), dir, args[0]), absent(dir, err))
				}
				whole := withUse(d)
				if wantJSON(cmd) {
					return jsonLines(out).Encode(whole)
				}
				return describe(out, whole)
			}
			domains, err := admin.PS(cmd.Context(), dir)
			if err != nil {
				return absent(dir, err)
			}
			live, err := readIfThere(filepath.Join(dir, liveFile))
			if err != nil {
				return failed("%w", err)
			}
			rights, err := parseRights(string(live))
			if err != nil {
				return err
			}
			if !wantJSON(cmd) {
				if err := listDomains(out, domains); err != nil {
					return err
				}
				for i := range rights {
					fmt.Fprintf(out, "%s, until the next reload\n", &rights[i])
				}
				return nil
			}
			for i := range rights {
				if err := jsonLines(out).Encode(&rights[i]); err != nil {
					return failed("%w", err)
				}
			}
			for _, d := range domains {
				if err := jsonLines(out).Encode(d); err != nil {
					return failed("%w", err)
				}
			}
			return nil
		},
	}
	systemFlag(cmd, &from)
	return cmd
}

func state(d admin.Domain) string {
	if d.State == admin.Ended && d.Status != nil {
		return fmt.Sprintf("%s %d", d.State, *d.Status)
	}
	return d.State
}

func ring(d admin.Domain) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", d.Ring, d.RingName))
}

// livePID is the number of the process of a domain that runs; of one that has ended
// it may be another's.
func livePID(d admin.Domain) int {
	if !d.Lives() {
		return 0
	}
	return d.PID
}

func number(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// describe prints a domain whole: its descriptor, in the words of the field.
func describe(out io.Writer, d described) error {
	if d.Mailbox != nil {
		return describeMailbox(out, d)
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	row := func(key string, values ...string) {
		for _, v := range values {
			fmt.Fprintf(w, "%s\t%s\n", key, v)
			key = ""
		}
	}
	row("domain", d.Name)
	row("state", state(d.Domain))
	if d.Exit != "" {
		row("last end", printable(d.Exit))
	}
	if d.Restarts > 0 {
		row("restarts", fmt.Sprint(d.Restarts))
	}
	if d.Says != "" {
		row("says", printable(d.Says))
	}
	row("process", fmt.Sprintf("pid %s, uid %s", number(livePID(d.Domain)), number(int(d.UID))))
	row("ring", ring(d.Domain))
	if d.Child != nil {
		of, ends := childRows(d.Child)
		row("child of", of)
		row("ends", ends)
	}
	if p := d.Descriptor; p != nil {
		row("program", p.Program)
		if p.Digest != "" {
			row("digest", "sha256:"+p.Digest)
		}
		for i, c := range p.Calls {
			row(heading(i, "may call"), fmt.Sprintf("%s to %s, if %s", c.Method, c.To, condition(&c)))
		}
		for i, f := range p.Files {
			as := ""
			if f.AsRoot {
				as = " as root"
			}
			row(heading(i, "files"), fmt.Sprintf("%s %s%s, by %q", f.Path, f.Access, as, f.Policy))
		}
		row("listens", p.Listen...)
		row("connects", p.Connect...)
		for i, e := range p.Exports {
			line := e.Interface
			if e.Socket != "" {
				line += " at " + e.Socket
			}
			row(heading(i, "exports"), line+map[bool]string{true: ", served now", false: ", not served"}[e.Serving])
		}
		row("quota", quotaRows(d)...)
		row("children", offspringRows(p.Children, &p.Quota)...)
		row("delegations", loanRows(d.Name, p.Loans)...)
		for i, o := range p.Objects {
			row(heading(i, "objects"), objectRow(&o))
		}
		for i, g := range p.Held {
			row(heading(i, "gates"), fmt.Sprintf("%s: %s → %s", g.Interface, g.From, g.To))
		}
	}
	if d.Level == libraryLevel {
		row("messages", "not counted at this level; 'ward audit' has what receivers reported")
	} else {
		row("messages", fmt.Sprintf("%d allowed, %d denied", d.Allowed, d.Denied))
	}
	if d.Lost > 0 {
		row("lost", fmt.Sprintf("%d audit records", d.Lost))
	}
	if d.Level != "" {
		row("level", levelMeans(d.Level))
	}
	return w.Flush()
}

func heading(i int, s string) string {
	if i > 0 {
		return ""
	}
	return s
}

// nameOf is the name of the system in a run directory, for messages.
func nameOf(dir string) string { return cmp.Or(strings.TrimPrefix(dir, runRoot+"/"), dir) }

// quoted writes "a" or "b".
func quoted(ids []string) string {
	var all []string
	for _, id := range ids {
		all = append(all, fmt.Sprintf("%q", id))
	}
	return strings.Join(all, " or ")
}
