package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"ward/bench/upbench"
)

func newBenchUp() *cobra.Command {
	var domains int
	cmd := &cobra.Command{
		Use:   "up",
		Short: "A whole system: time until all domains run and have called, memory of wardd",
		Long: `Start a system of many domains with the real wardd, measure it, and stop it. The
domains are the name server, a server, and clients that each look the server up
and make one call; every decision is recorded. RSS counts a page in each process
that has it, PSS shares it out.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot("starting domains"); err != nil {
				return err
			}
			if domains < upbench.MinDomains || domains > upbench.MaxDomains {
				return badInput("--domains %d: must be %d to %d", domains, upbench.MinDomains, upbench.MaxDomains)
			}
			result, err := benchUp(cmd, domains)
			if err != nil {
				return unfinished(cmd, err)
			}
			if wantJSON(cmd) {
				return printRows(cmd, []upbench.Result{result}, "", nil)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d domains ran after %v, %d had their answers after %v\n",
				result.Domains, nanos(result.Started), result.Calls, nanos(result.Answered))
			rows := append(result.Processes, upbench.Process{Role: "all", RSS: result.RSS, PSS: result.PSS})
			return printRows(cmd, rows, "WARDD\tRSS MiB\tPSS MiB", func(w io.Writer, p upbench.Process) {
				fmt.Fprintf(w, "%s\t%.1f\t%.1f\n", p.Role, float64(p.RSS)/1024, float64(p.PSS)/1024)
			})
		},
	}
	cmd.Flags().IntVarP(&domains, "domains", "n", 100, "domains, with the name server and the server")
	return cmd
}

func benchUp(cmd *cobra.Command, domains int) (upbench.Result, error) {
	o, release, err := upOptions(cmd, domains)
	if err != nil {
		return upbench.Result{}, err
	}
	defer release()
	return upbench.Run(cmd.Context(), o)
}
