package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"ward/bench/filterbench"
	"ward/bench/upbench"
)

// benchChildren is what `ward bench spawn` says of children.
func benchChildren(cmd *cobra.Command, n int) error {
	o, release, err := upOptions(cmd, upbench.MinDomains)
	if err != nil {
		return err
	}
	rows, err := upbench.Children(cmd.Context(), o, n)
	if release(); err != nil {
		return unfinished(cmd, err)
	}
	if err := printRows(cmd, rows, "TO FIRST ANSWER\tN\tRATIO\tTO DOMAIN\tP50\tP90", func(w io.Writer, r upbench.ChildRow) {
		fmt.Fprintf(w, "%s\t%d\t%.2f\t%.2f\t%v\t%v\n", r.Peer, r.N, r.Ratio, r.RatioDomain, nanos(r.P50), nanos(r.P90))
	}); err != nil {
		return err
	}
	depths, err := filterbench.Depths(cmd.Context())
	if err != nil {
		return unfinished(cmd, err)
	}
	return printRows(cmd, depths, "DEPTH\tRATIO\tP50\tMIN\tINSTRUCTIONS\tOF", func(w io.Writer, r filterbench.DepthRow) {
		fmt.Fprintf(w, "%d\t%.2f\t%dns\t%dns\t%d\t%d\n", r.Depth, r.Ratio, r.P50, r.Best, r.Run, r.Length)
	})
}
