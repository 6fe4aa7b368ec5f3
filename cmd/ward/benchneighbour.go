package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"ward/bench/upbench"
)

func newBenchNeighbour() *cobra.Command {
	o := upbench.NeighbourOptions{}
	cmd := &cobra.Command{
		Use:   "neighbour",
		Short: "What a noisy domain does to the calls of a bystander, with default quotas and weights",
		Long: `Start a system in which a bystander calls a server all the time, while another
domain alternately does nothing and harm: a flood of calls to another server, and
to the bystander's, a fork bomb, memory without end, descriptors without end.
RATIO is that of the bystander's P99 to the one while the other is quiet.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot("starting domains"); err != nil {
				return err
			}
			if o.Phase < 50*time.Millisecond || o.Phase > time.Minute || o.Rounds < 1 || o.Rounds > 100 {
				return badInput("--phase must be 50ms to 1m, --rounds 1 to 100")
			}
			up, release, err := upOptions(cmd, 0)
			if err != nil {
				return err
			}
			defer release()
			o.Options = up
			rows, err := upbench.Neighbour(cmd.Context(), o)
			if err != nil {
				return unfinished(cmd, err)
			}
			return printRows(cmd, rows, "HARM\tCALLS\tP50\tP99\tRATIO", func(w io.Writer, r upbench.NeighbourRow) {
				fmt.Fprintf(w, "%s\t%d\t%v\t%v\t%.2f\n", r.Harm, r.Calls, nanos(r.P50), nanos(r.P99), r.Ratio)
			})
		},
	}
	cmd.Flags().DurationVar(&o.Phase, "phase", time.Second, "how long each phase takes")
	cmd.Flags().IntVar(&o.Rounds, "rounds", 4, "turns of each harm, with as many quiet ones")
	return cmd
}
