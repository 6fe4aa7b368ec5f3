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
			results, err := nginxbench.Run(cmd.Context(), o)
			if show(""); err != nil {
				return unfinished(cmd, err)
			}
			return printRows(cmd, results, "FILES\tWITHOUT\tWARD REQUESTS/S\tPLAIN\tRATIO\tWARD CPU/REQUEST\tPLAIN\tRATIO", func(w io.Writer, r nginxbench.Result) {
				without := r.Without
				if without == "" {
					without = "–"
				}
				fmt.Fprintf(w, "%s\t%s\t%.0f\t%.0f\t%.3f\t%v\t%v\t%.3f\n", r.Files, without, r.Ward, r.Plain, r.Ratio, nanos(int64(r.WardCPU)), nanos(int64(r.PlainCPU)), r.CPURatio)
			})
		},
	}
	cmd.Flags().IntVar(&o.Size, "size", 4096, "bytes of the one file; the mix is as it is")
	cmd.Flags().IntVar(&o.Connections, "connections", 8, "connections at a time")
	cmd.Flags().IntVar(&o.Rounds, "rounds", 240, "turns of each")
	cmd.Flags().IntVar(&o.Sittings, "sittings", 0, "how often all are started anew (default 24)")
	cmd.Flags().BoolVar(&o.Layers, "layers", false, "besides, domains without seccomp, without Landlock, without both")
	cmd.Flags().DurationVar(&o.Turn, "turn", 0, "how long one turn takes (default 100ms)")
	return cmd
}
