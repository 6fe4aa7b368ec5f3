package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"ward/bench/upbench"
)

// benchScale is `ward bench spawn --domains N`.
func benchScale(cmd *cobra.Command, domains int) error {
	if domains < upbench.MinScale || domains > upbench.MaxDomains {
		return badInput("--domains %d: must be %d to %d", domains, upbench.MinScale, upbench.MaxDomains)
	}
	o, release, err := upOptions(cmd, domains)
	if err != nil {
		return err
	}
	defer release()
	r, err := upbench.Scale(cmd.Context(), o)
	if err != nil {
		return unfinished(cmd, err)
	}
	return printRows(cmd, []upbench.ScaleResult{r}, "DOMAINS\tALL RUN\tTENTH\tLAST\tRATIO\tWARDD CPU TENTH\tLAST\tRATIO\tDOMAIN CPU TENTH\tLAST\tWARDD KiB/DOMAIN\tPSS MiB", func(w io.Writer, r upbench.ScaleResult) {
		fmt.Fprintf(w, "%d\t%v\t%v\t%v\t%.2f\t%v\t%v\t%.2f\t%v\t%v\t%.0f\t%.1f\n", r.Domains, nanos(r.Started), nanos(r.Tenth), nanos(r.Last), r.Ratio,
			nanos(r.CPUTenth.Wardd), nanos(r.CPULast.Wardd), r.CPURatio, nanos(r.CPUTenth.Domain), nanos(r.CPULast.Domain), r.Memory, float64(r.PSS)/1024)
	})
}

// upOptions are those of a benchmark that starts a whole system. release gives
// back what they took.
func upOptions(cmd *cobra.Command, domains int) (o upbench.Options, release func(), err error) {
	o.Domains = domains
	if o.Wardd, err = beside("wardd"); err != nil {
		return o, nil, err
	}
	if o.Names, err = beside("ward-names"); err != nil {
		return o, nil, err
	}
	slot, err := takeSlot()
	if err != nil {
		return o, nil, err
	}
	o.Slot = slot.number
	show := progressOn(cmd)
	o.Progress = func(text string) { show("%s", text) }
	return o, func() { show(""); slot.release() }, nil
}
