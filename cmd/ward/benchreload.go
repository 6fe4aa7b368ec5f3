package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"ward/bench/reloadbench"
)

func newBenchReload() *cobra.Command {
	o := reloadbench.Options{}
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Swap the filters of many gates: from the first to the last, and until the old ones have ended",
		Long: `Open many gates on the kernel side of a system of its own, and swap their filters
between two policies. PREPARE is the kernel's verification of the new programs, for
which no call waits; SWAP is from the first program to the last; DONE is when every
filter of the old policy has ended; OPEN is what one gate took to open.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot("loading filters"); err != nil {
				return err
			}
			if o.Gates < 1 || o.Gates > reloadbench.MaxGates || o.Routes < 1 || o.Routes > min(o.Gates, reloadbench.MaxRoutes) || o.Rounds < 1 {
				return badInput("--gates must be 1 to %d, --routes 1 to %d and not more than gates, --rounds positive", reloadbench.MaxGates, reloadbench.MaxRoutes)
			}
			show := progressOn(cmd)
			o.Progress = show
			results, err := reloadbench.Run(cmd.Context(), o)
			show("")
			if err != nil {
				return unfinished(cmd, err)
			}
			return printRows(cmd, results, "GATES\tROUTES\tPREPARE\tSWAP\tDONE\tOPEN", func(w io.Writer, r reloadbench.Result) {
				fmt.Fprintf(w, "%d\t%d\t%v\t%v\t%v\t%v\n", r.Gates, r.Routes, nanos(r.Prepare), nanos(r.Swap), nanos(r.Done), nanos(r.Open))
			})
		},
	}
	cmd.Flags().IntVar(&o.Gates, "gates", 1000, "open gates")
	cmd.Flags().IntVar(&o.Routes, "routes", 1000, "pairs of filters that they use: one for each client")
	cmd.Flags().IntVar(&o.Rounds, "rounds", 5, "swaps")
	return cmd
}
