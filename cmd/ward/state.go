package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"ward/monitor/admin"
)

func newState() *cobra.Command {
	var from string
	var force bool
	cmd := &cobra.Command{
		Use:   "state [SYSTEM] [NAME[=VALUE]]",
		Short: "Show the state of a running system, or set it",
		Long: `Show each declared state with its value, how often its word has changed (modulo
65,536, as in audit records), and the values that it may get from there.

A state of a domain is named DOMAIN.NAME, one of a gate GATE.NAME with the gate's
number, one of the system NAME; NAME alone shows all its instances.

NAME=VALUE sets one, along a declared move, or with --force to any declared value.
It is recorded. Root may, and a user whom a policy permits ward::Action::"set" on the
system; --force is root's.`,
		Args:              cobra.MaximumNArgs(2),
		ValidArgsFunction: completeState,
		RunE: func(cmd *cobra.Command, args []string) error {
			what := ""
			var systems []string // that the argument may have been meant for
			switch {
			case len(args) == 2 && from != "":
				return badInput("%q and --system %q: name one system", args[0], from)
			case len(args) == 2:
				from, what = args[0], args[1]
			case len(args) == 1 && from == "" && slices.Contains(runningSystems(), args[0]):
				from = args[0]
			case len(args) == 1:
				what = args[0]
				if from == "" {
					systems = runningSystems()
				}
			}
			dir, err := systemDir(from)
			if err != nil {
				return err
			}
			all, err := admin.States(cmd.Context(), dir)
			if err != nil {
				return failed("%w", err)
			}
			name, value, set := strings.Cut(what, "=")
			chosen, err := choose(all, name, systems)
			if err != nil {
				return err
			}
			if set {
				if chosen, err = setState(cmd, from, chosen, name, value, force); err != nil {
					return err
				}
			} else if force {
				return badInput("--force goes with NAME=VALUE")
			}
			return printStates(cmd, chosen)
		},
	}
	systemFlag(cmd, &from)
	cmd.Flags().BoolVar(&force, "force", false, "set it also where no move is declared")
	return cmd
}

// instance is how one instance of a state is named.
func instance(s *admin.State) string {
	switch s.Per {
	case "domain":
		return s.Domain + "." + s.Name
	case "gate":
		return strconv.FormatUint(uint64(s.Gate), 10) + "." + s.Name
	}
	return s.Name
}

// choose finds the instances that a name stands for; "": all. systems are what
// the name could have been meant for, too.
func choose(all []admin.State, name string, systems []string) ([]admin.State, error) {
	if name == "" {
		return all, nil
	}
	var chosen []admin.State
	var known []string
	for i := range all {
		s := &all[i]
		if instance(s) == name || s.Name == name {
			chosen = append(chosen, *s)
		}
		known = append(known, instance(s), s.Name)
	}
	if len(chosen) == 0 {
		return nil, badInput("there is no state %s%s", name, orElse(name, append(known, systems...), "a state of a domain is DOMAIN.NAME, one of an open gate NUMBER.NAME"))
	}
	return chosen, nil
}

func setState(cmd *cobra.Command, from string, chosen []admin.State, name, value string, force bool) ([]admin.State, error) {
	if name == "" {
		return nil, badInput("which state is to be %q? write NAME=VALUE", value)
	}
	if len(chosen) > 1 {
		var names []string
		for i := range chosen {
			names = append(names, instance(&chosen[i]))
		}
		return nil, badInput("%s has several instances: name one of %s", name, strings.Join(names, ", "))
	}
	s := &chosen[0]
	index := slices.Index(s.Values, value)
	if index < 0 {
		return nil, badInput("%s has no value %q%s", s.Name, value, orElse(value, s.Values, "it has "+strings.Join(s.Values, ", ")))
	}
	t, err := runningTarget(cmd.Context(), from)
	if err != nil {
		return nil, err
	}
	now, err := admin.SetState(cmd.Context(), t.dir, t.hash, s, uint32(index), force)
	if err != nil {
		return nil, failed("%w", err)
	}
	return []admin.State{*now}, nil
}

func printStates(cmd *cobra.Command, all []admin.State) error {
	out := cmd.OutOrStdout()
	if wantJSON(cmd) {
		for i := range all {
			record := struct {
				Event    string `json:"event"`
				Instance string `json:"instance"`
				admin.State
			}{"state", instance(&all[i]), all[i]}
			if err := jsonLines(out).Encode(record); err != nil {
				return failed("%w", err)
			}
		}
		return nil
	}
	if len(all) == 0 {
		_, err := io.WriteString(out, "no state, or no gate that has one\n")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "STATE\tVALUE\tCHANGES\tMAY BECOME\tOF")
	for i := range all {
		s := &all[i]
		of := s.Per
		switch s.Per {
		case "domain":
			of = "domain " + s.Domain
		case "gate":
			of = fmt.Sprintf("gate %d, %s: %s → %s", s.Gate, s.Interface, s.From, s.To)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", instance(s), s.Value, s.Changes, strings.Join(s.Moves, ", "), of)
	}
	return w.Flush()
}
