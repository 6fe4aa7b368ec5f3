package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ward/compare"
)

func newDiff() *cobra.Command {
	var noNewAccess bool
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Show what a new policy allows and denies that the old one did not",
		Long: `Compare two systems, each a directory or an image of ward compile: which requests,
replies and verdicts flip, with examples, and which bounds of parameters change.
What an example leaves out may have any value.

With --no-new-access the exit status is 1 if the new system allows anything that
the old one denied, or if that could not be excluded.`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: paths(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			before, err := readSystem(cmd, args[0])
			if err != nil {
				return err
			}
			after, err := readSystem(cmd, args[1])
			if err != nil {
				return err
			}
			r := compare.Images(before, after)
			if wantJSON(cmd) {
				err = diffJSON(cmd.OutOrStdout(), r)
			} else {
				err = diffText(cmd.OutOrStdout(), r)
			}
			if err != nil {
				return failed("%w", err)
			}
			if noNewAccess && r.NewAccess() > 0 {
				return failed("%s with new access, or where it could not be excluded", count(r.NewAccess(), "change"))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&noNewAccess, "no-new-access", false, "fail if anything new is allowed, or if that cannot be excluded")
	return cmd
}

func diffJSON(w io.Writer, r *compare.Report) error {
	if err := printRecords(w, r.Changes); err != nil {
		return err
	}
	return jsonLines(w).Encode(map[string]any{"event": "compared", "changes": len(r.Changes), "new_access": r.NewAccess(), "equal": r.Equal, "proved_equal": r.Proved})
}

func diffText(w io.Writer, r *compare.Report) error {
	s := styleFor(w)
	var b strings.Builder
	for i := range r.Changes {
		x := &r.Changes[i]
		mark := s.dim("~")
		switch {
		case x.Change == compare.Open:
			mark = s.bad("?")
		case x.NewAccess:
			mark = s.bad("+")
		case x.Change == compare.Denied:
			mark = s.good("-")
		}
		fmt.Fprintf(&b, "%s %s\n", mark, subject(x))
		if x.Detail != "" {
			fmt.Fprintf(&b, "\t%s\n", plain(x.Detail))
		}
		if x.Old != nil && x.New != nil {
			fmt.Fprintf(&b, "\twas %s\n\tnow %s\n", sideWords(x.Old), sideWords(x.New))
		}
	}
	fmt.Fprintf(&b, "%s, %d with new access; %s unchanged, %d more written differently and proved to decide the same\n",
		count(len(r.Changes), "change"), r.NewAccess(), count(r.Equal, "decision"), r.Proved)
	_, err := io.WriteString(w, b.String())
	return err
}

// subject says what a change is about.
func subject(x *compare.Change) string {
	words := []string{x.Event}
	switch {
	case x.From != "" && x.To != "":
		words = append(words, x.From+" → "+x.To)
	case x.From+x.To != "":
		words = append(words, x.From+x.To)
	}
	for _, s := range []string{x.Interface, x.Method, x.Object} {
		if s != "" {
			words = append(words, plain(s))
		}
	}
	if x.User != "" {
		words = append(words, fmt.Sprintf("user=%q", x.User))
	}
	if len(x.Groups) > 0 {
		words = append(words, fmt.Sprintf("groups=%q", x.Groups))
	}
	for _, name := range slices.Sorted(maps.Keys(x.State)) {
		words = append(words, name+"="+x.State[name])
	}
	if x.Args != nil && (x.Change == compare.Allowed || x.Change == compare.Denied) {
		words = append(words, example(x.Args))
	}
	return strings.Join(words, "  ")
}

// example writes arguments in one line.
func example(args map[string]any) string {
	if len(args) == 0 {
		return "(any message)"
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(args); err != nil {
		return err.Error()
	}
	return plain(strings.TrimSpace(b.String()))
}

// plain replaces what could act on a terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '\ufffd'
		}
		return r
	}, s)
}

func sideWords(s *compare.Side) string {
	if s.Policy == "" {
		return "denied by default"
	}
	verb := map[string]string{"allow": "allowed", "deny": "denied"}[s.Verdict]
	return fmt.Sprintf("%s by %q (%s)", verb, s.Policy, plain(s.Source))
}
