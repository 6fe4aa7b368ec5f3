package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"ward/bench/nginxbench"
)

// domainUIDs is where the user IDs of domains begin; a slot takes slotUIDs of them.
const (
	domainUIDs = 0x70000000
	slotUIDs   = 4096
)

func newBenchNginx() *cobra.Command {
	var o nginxbench.Options
	cmd := &cobra.Command{
		Use:   "nginx",
		Short: "nginx as a domain that serves files and may connect to one address, against nginx without Ward",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot("starting domains"); err != nil {
				return err
			}
			slot, err := takeSlot()
			if err != nil {
				return err
			}
			defer slot.release()
			o.UID = domainUIDs + slotUIDs*uint32(slot.number)
			show := progressOn(cmd)
			o.Progress = func(text string) { show("%s", text) }
			result, err := nginxbench.Run(cmd.Context(), o)
			if show(""); err != nil {
				return unfinished(cmd, err)
			}
			return printRows(cmd, []nginxbench.Result{result}, "WARD REQUESTS/S\tPLAIN REQUESTS/S\tRATIO", func(w io.Writer, r nginxbench.Result) {
				fmt.Fprintf(w, "%.0f\t%.0f\t%.3f\n", r.Ward, r.Plain, r.Ratio)
			})
		},
	}
	cmd.Flags().IntVar(&o.Size, "size", 4096, "bytes of the file")
	cmd.Flags().IntVar(&o.Connections, "connections", 8, "connections at a time")
	cmd.Flags().IntVar(&o.Rounds, "rounds", 8, "turns of each")
	cmd.Flags().DurationVar(&o.Turn, "turn", 0, "how long one turn takes (default 1s)")
	return cmd
}
