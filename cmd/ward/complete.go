package main

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"ward/audit"
	"ward/explain"
	"ward/monitor/admin"
)

// What the shells complete: `ward completion bash`, zsh, fish or powershell prints
// the script, which asks `ward __complete`. Names of domains, states and methods
// are those of the running system, for who may ask it.

type completion = func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective)

// oneOf completes with words, and with no file.
func oneOf(words ...string) completion {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// file completes the path of a file that is a flag's value.
func file(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

// paths completes up to n files and directories, as the shell does, and then nothing.
func paths(n int) completion {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) < n {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// oneDirectory completes a system directory.
func oneDirectory(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// oneSystem completes the name of a running system.
func oneSystem(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return runningSystems(), cobra.ShellCompDirectiveNoFileComp
}

// oneDomain completes the name of a domain of a running system.
func oneDomain(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return domainsHere(cmd), cobra.ShellCompDirectiveNoFileComp
}

// domainsHere lists the domains of the system that the flags name.
func domainsHere(cmd *cobra.Command) []string {
	from, _ := cmd.Flags().GetString("system")
	dir, err := systemDir(from)
	if err != nil {
		return nil
	}
	return domainsIn(cmd.Context(), dir)
}

// completeRight completes FROM TO METHOD: two domains, and what the second has.
func completeRight(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0, 1:
		return domainsHere(cmd), cobra.ShellCompDirectiveNoFileComp
	case 2:
		from, _ := cmd.Flags().GetString("system")
		if t, err := runningTarget(cmd.Context(), from); err == nil {
			return methodsAt(t.img, args[1]), cobra.ShellCompDirectiveNoFileComp
		}
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// completeState completes [SYSTEM] [NAME[=VALUE]]: after the equals sign the
// values to which a move leads, or with --force all.
func completeState(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	from, _ := cmd.Flags().GetString("system")
	force, _ := cmd.Flags().GetBool("force")
	var words []string
	switch {
	case len(args) == 0 && from == "":
		words = runningSystems()
	case len(args) == 1 && from == "":
		from = args[0]
	case len(args) > 0:
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	if dir, err := systemDir(from); err == nil {
		all, _ := admin.States(cmd.Context(), dir) // of none: no words
		words = append(words, stateWords(all, begun, force)...)
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

func stateWords(all []admin.State, begun string, force bool) (words []string) {
	name, _, set := strings.Cut(begun, "=")
	for i := range all {
		s := &all[i]
		if !set {
			words = append(words, instance(s))
			continue
		}
		values := s.Moves
		if force {
			values = s.Values
		}
		if instance(s) != name {
			continue
		}
		for _, v := range values {
			words = append(words, name+"="+v)
		}
	}
	return words
}

// completeTo completes the other end of what `ward explain DIR` is asked about.
func completeTo(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	domains, _, _ := namesOf(cmd, args[0])
	return domains, cobra.ShellCompDirectiveNoFileComp
}

// completeExplain completes the directory, as the shell does, and then who
// and what there is.
func completeExplain(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return nil, cobra.ShellCompDirectiveFilterDirs
	case 1:
		domains, _, _ := namesOf(cmd, args[0])
		return domains, cobra.ShellCompDirectiveNoFileComp
	case 2:
		_, methods, objects := namesOf(cmd, args[0])
		if len(objects) > 0 {
			methods = append(methods, explain.Actions()...)
		}
		return methods, cobra.ShellCompDirectiveNoFileComp
	case 3:
		if explain.IsAction(args[2]) {
			_, _, objects := namesOf(cmd, args[0])
			return objects, cobra.ShellCompDirectiveNoFileComp
		}
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// completeDenials completes the number of a record: those of the newest denials,
// newest first.
func completeDenials(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	const newest = 20
	from, _ := cmd.Flags().GetString("system")
	dir, err := systemDir(from)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var found []audit.Record
	for r, err := range audit.Read(auditIn(dir), audit.Filter{Verdict: audit.Deny}) {
		if err != nil {
			break
		}
		if r.Verdict != audit.Deny || !explainable(r.Event) {
			continue
		}
		if found = append(found, r); len(found) > 2*newest {
			found = append(found[:0], found[len(found)-newest:]...)
		}
	}
	var words []string
	for i := len(found) - 1; i >= max(0, len(found)-newest); i-- {
		r := visible(&found[i])
		words = append(words, strconv.FormatUint(r.Seq, 10)+"\t"+r.From+" → "+r.To+" "+r.Method+r.Interface+r.Address)
	}
	return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// flagWords says how a flag's value is completed.
func flagWords(cmd *cobra.Command, name string, how completion) {
	must(cmd.RegisterFlagCompletionFunc(name, how))
}
