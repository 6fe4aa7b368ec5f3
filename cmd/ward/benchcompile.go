package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"ward/bench/compilebench"
)

func newBenchCompile() *cobra.Command {
	var o compilebench.Options
	cmd := &cobra.Command{
		Use:   "compile",
		Short: "The compiler: time and memory against the number of policies",
		Long: `Compile systems of 100 domains, 1,000 methods and a growing number of policies. RATIO
is to the first of them, MEMORY all that the process has had from the kernel so far.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, n := range o.Policies {
				if n < 1 || n > compilebench.MaxPolicies {
					return badInput("--policies %d: must be 1 to %d", n, compilebench.MaxPolicies)
				}
			}
			if o.Rounds < 1 || o.Rounds > compilebench.MaxRounds {
				return badInput("--rounds %d: must be 1 to %d", o.Rounds, compilebench.MaxRounds)
			}
			show := progressOn(cmd)
			o.Progress = func(done, total int) { show("%d of %d", done+1, total) }
			results, err := compilebench.Run(cmd.Context(), o)
			if show(""); err != nil {
				return unfinished(cmd, err)
			}
			return printRows(cmd, results, "POLICIES\tDOMAINS\tMETHODS\tROUTES\tCOMPILE\tRATIO\tMEMORY MiB", func(w io.Writer, r compilebench.Result) {
				fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%v\t%.1f\t%d\n", r.Policies, r.Domains, r.Methods, r.Routes, nanos(r.Compile), r.Ratio, r.Memory>>20)
			})
		},
	}
	cmd.Flags().IntSliceVar(&o.Policies, "policies", []int{10, 1000, 10000}, "policies in the system")
	cmd.Flags().IntVar(&o.Rounds, "rounds", 3, "compilations of each")
	return cmd
}
