package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"ward/bench/upbench"
)

func newBenchHandle() *cobra.Command {
	var n int
	cmd := &cobra.Command{
		Use:   "handle",
		Short: "Many bytes from one domain to another: items of a stream, memory by a handle, shared memory",
		Long: `Start a system in which one domain fills bytes and another makes a checksum of them,
in turns: sent as items of a stream, of 120 and of 32 KiB; in memory that is made for
it and given by a handle, to be read; in shared memory that both have open. Each time
is from the call to the checksum. RATIO is to the items of 120 KiB.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot("starting domains"); err != nil {
				return err
			}
			if n < 1 || n > 100000 {
				return badInput("--count %d: must be 1 to 100000", n)
			}
			o, release, err := upOptions(cmd, upbench.MinDomains)
			if err != nil {
				return err
			}
			rows, err := upbench.Handles(cmd.Context(), o, n)
			if release(); err != nil {
				return unfinished(cmd, err)
			}
			return printRows(cmd, rows, "KiB\tWAY\tN\tRATIO\tP50\tP90", func(w io.Writer, r upbench.HandleRow) {
				fmt.Fprintf(w, "%d\t%s\t%d\t%.2f\t%v\t%v\n", r.Bytes>>10, r.Way, r.N, r.Ratio, nanos(r.P50), nanos(r.P90))
			})
		},
	}
	cmd.Flags().IntVarP(&n, "count", "n", 100, "transfers of each size in each way")
	return cmd
}
