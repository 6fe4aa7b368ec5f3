package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"ward/cases"
	"ward/compile"
)

// auditInput is the name of the audit file in the archive for the confined
// child: no source file has its ending.
const auditInput = "audit.jsonl"

// maxAudit is the longest audit file that cases are written from, in bytes.
const maxAudit = maxTotal / 2

// writeCases writes test cases from an audit file to standard output.
func writeCases(cmd *cobra.Command, dir, file string) error {
	in := cmd.InOrStdin()
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return badInput("%w", err)
		}
		defer f.Close()
		in = f
	}
	recorded, err := io.ReadAll(io.LimitReader(in, maxAudit+1))
	if err != nil {
		return failed("%w", err)
	}
	if len(recorded) > maxAudit {
		return badInput("%s has more than %d bytes: give a part of it, as in tail -n 100000", file, maxAudit)
	}
	t := new(tested)
	if err := runConfinedWith(cmd.Context(), dir, &extra{auditInput, recorded}, t, confinedTest, ""); err != nil {
		return err
	}
	printFindings(cmd.ErrOrStderr(), dir, t.Findings, false)
	if t.Findings.Failed() || t.Written == nil {
		return &exitError{status: exitInput}
	}
	w := t.Written
	if wantJSON(cmd) {
		err = jsonLines(cmd.OutOrStdout()).Encode(map[string]any{"event": "written", "cases": w.Cases, "records": w.Records, "left_out": w.Left, "bad_lines": t.Bad, "text": w.Text})
	} else {
		_, err = io.WriteString(cmd.OutOrStdout(), w.Text)
		fmt.Fprintf(cmd.ErrOrStderr(), "%s from %s; %s left out\n", count(w.Cases, "case"), count(w.Records, "record"), count(w.Left, "record"))
		if t.Bad > 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s of %s: no audit record\n", count(t.Bad, "line"), file)
		}
	}
	if err != nil {
		return failed("%w", err)
	}
	return nil
}

// casesFrom runs in the confined child.
func casesFrom(r *compile.Result, recorded []byte) (*cases.Written, int) {
	var all []cases.Happened
	bad := 0
	for line := range bytes.Lines(recorded) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		var h cases.Happened
		d := json.NewDecoder(bytes.NewReader(line))
		d.UseNumber()
		if err := d.Decode(&h); err != nil {
			bad++
			continue
		}
		all = append(all, h)
	}
	w := cases.FromAudit(r.Image, r.Set, all)
	return &w, bad
}
