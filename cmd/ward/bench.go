package main

import (
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"ward/bench/callbench"
	"ward/bench/filterbench"
	"ward/bench/spawnbench"
)

func newBench() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure Ward against its peers, alternating in one run",
		Long: `Measure Ward against its peers. All peers of a benchmark take turns in one run on
this machine; compare the ratios, not the times of two runs.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBenchCall(), newBenchFilter(), newBenchSpawn(), newBenchNeighbour(), newBenchHandle(), newBenchUp(), newBenchReload(), newBenchNginx(), newBenchCompile())
	return cmd
}

func newBenchCall() *cobra.Command {
	o := callbench.Options{Gate: callbench.FilteredGate}
	cmd := &cobra.Command{
		Use:   "call",
		Short: "A call between two processes: raw socket, Ward, gRPC on a Unix socket, D-Bus",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot("attaching filters"); err != nil {
				return err
			}
			o.Skipped = func(peer string, why error) { fmt.Fprintf(cmd.ErrOrStderr(), "without %s: %v\n", peer, why) }
			show := progressOn(cmd)
			o.Progress = func(done, total int, what string) { show("%d of %d: %s", done+1, total, what) }
			rows, err := callbench.Run(cmd.Context(), o)
			if show(""); err != nil {
				return unfinished(cmd, err)
			}
			return printRows(cmd, rows, "PEER\tBYTES\tOUTSTANDING\tRATIO\tP50\tP99\tP99.9\tCALLS/S", func(w io.Writer, r callbench.Row) {
				fmt.Fprintf(w, "%s\t%d\t%d\t%.2f\t%v\t%v\t%v\t%.0f\n", r.Peer, r.Size, r.Outstanding, r.Ratio,
					nanos(r.P50), nanos(r.P99), nanos(r.P999), r.PerSecond)
			})
		},
	}
	cmd.Flags().IntSliceVar(&o.Sizes, "size", nil, "payload in bytes (default 64,1024,32768)")
	cmd.Flags().IntSliceVar(&o.Outstanding, "outstanding", nil, "calls under way at a time (default 1,16)")
	cmd.Flags().StringSliceVar(&o.Peers, "peer", nil, "peers: raw, ward, unfiltered, grpc, dbus (default all but unfiltered)")
	flagWords(cmd, "peer", oneOf(callbench.Raw, callbench.Ward, callbench.Plain, callbench.GRPC, callbench.DBus))
	cmd.Flags().IntVar(&o.Rounds, "rounds", 5, "turns of each peer")
	cmd.Flags().DurationVar(&o.Turn, "turn", 300*time.Millisecond, "how long one turn takes")
	return cmd
}

func newBenchFilter() *cobra.Command {
	return &cobra.Command{
		Use:   "filter",
		Short: "The filter of a gate: time and instructions against fields, bytes of strings, policies, and trust in the caller",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot("running filters in the kernel"); err != nil {
				return err
			}
			var rows []filterbench.Row
			show := progressOn(cmd)
			show("1 of %d", filterbench.Cases())
			err := filterbench.Run(cmd.Context(), func(r filterbench.Row) {
				rows = append(rows, r)
				show("%d of %d", min(len(rows)+1, filterbench.Cases()), filterbench.Cases())
			})
			if show(""); err != nil {
				return unfinished(cmd, err)
			}
			return printRows(cmd, rows, "FIELDS\tSTRING BYTES\tTEXT\tPOLICIES\tCHECK\tP50\tMIN\tINSTRUCTIONS", func(w io.Writer, r filterbench.Row) {
				fmt.Fprintf(w, "%d\t%d\t%s\t%d\t%s\t%dns\t%dns\t%d\n", r.Fields, r.Size, r.Text, r.Policies, r.Check, r.P50, r.Best, r.Instructions)
			})
		},
	}
}

func newBenchSpawn() *cobra.Command {
	var n, domains int
	cmd := &cobra.Command{
		Use:   "spawn",
		Short: "Starting programs: plain exec, a domain of Ward, bwrap; children and what a deeper tree of them costs a message",
		Long: `Measure, each in turns: from a request to the end of a program, by plain exec, as a
domain of Ward, and under bwrap; from a request to the answer to the first call, by
plain exec, as a child that inherits its rights or asks for them, and as a whole
domain that a reload brings; and the filter of a child, whose policy and its
ancestors' are folded into one, by the depth of the tree.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot("making domains"); err != nil {
				return err
			}
			if n < 1 {
				return badInput("--count %d: must be 1 at least", n)
			}
			if domains > 0 {
				return benchScale(cmd, domains)
			}
			show := progressOn(cmd)
			rows, err := spawnbench.Run(cmd.Context(), n, func(done int) { show("%d of %d", done, n) })
			if show(""); err != nil {
				return unfinished(cmd, err)
			}
			err = printRows(cmd, rows, "PEER\tN\tRATIO\tTO BWRAP\tP50\tP90\tP99", func(w io.Writer, r spawnbench.Result) {
				fmt.Fprintf(w, "%s\t%d\t%.2f\t%.2f\t%v\t%v\t%v\n", r.Peer, r.N, r.Ratio, r.RatioBwrap, nanos(r.P50), nanos(r.P90), nanos(r.P99))
			})
			if err != nil {
				return err
			}
			return benchChildren(cmd, n)
		},
	}
	cmd.Flags().IntVarP(&n, "count", "n", 200, "starts of each peer")
	cmd.Flags().IntVar(&domains, "domains", 0, "instead, what one more domain costs in a system of so many: time of the last ones against that of the tenth, memory of wardd")
	return cmd
}

// progressOn returns what shows a line of progress in place of the last one, on
// a terminal only; an empty one clears it.
func progressOn(cmd *cobra.Command) func(format string, args ...any) {
	w := cmd.ErrOrStderr()
	if !isTerminal(w) {
		return func(string, ...any) {}
	}
	return func(format string, args ...any) { fmt.Fprintf(w, "\r\x1b[K"+format, args...) }
}

// unfinished is the error of a run that did not end: Ctrl-C needs no reason.
func unfinished(cmd *cobra.Command, err error) error {
	if cmd.Context().Err() != nil {
		return failed("interrupted")
	}
	return failed("%w", err)
}

// printRows prints measurements as a table, or as JSON.
func printRows[R any](cmd *cobra.Command, rows []R, header string, line func(io.Writer, R)) error {
	out := cmd.OutOrStdout()
	if wantJSON(cmd) {
		for _, r := range rows {
			if err := jsonLines(out).Encode(r); err != nil {
				return failed("%w", err)
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, header+"\t")
	for _, r := range rows {
		line(&tabbed{w}, r)
	}
	return w.Flush()
}

// tabbed ends every line with a tab, as tabwriter.AlignRight wants it.
type tabbed struct{ w io.Writer }

func (t *tabbed) Write(p []byte) (int, error) {
	if n := len(p); n > 0 && p[n-1] == '\n' {
		_, err := t.w.Write(append(append([]byte{}, p[:n-1]...), '\t', '\n'))
		return n, err
	}
	return t.w.Write(p)
}

// nanos rounds to three digits or so.
func nanos(n int64) time.Duration {
	d := time.Duration(n)
	for unit := time.Second; unit >= 10; unit /= 10 {
		if d >= unit {
			return d.Round(unit / 100)
		}
	}
	return d
}

// needRoot is the one sentence for those who are not root.
func needRoot(what string) error {
	if os.Geteuid() == 0 {
		return nil
	}
	return badInput("%s needs root: run it through sudo", what)
}
