package main

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ward/audit"
	"ward/diag"
	"ward/monitor/admin"
)

// orElse ends a message about a name that there is none of: with the known one
// that was meant, or, where none is near, with what else is of use.
func orElse(name string, known []string, hint string) string {
	if end := cmp.Or(diag.Suggest(name, known), hint); end != "" {
		return "; " + end
	}
	return ""
}

// unknownDomain is the error for a domain that the system in a run directory has
// not; nil if it has it, or if that cannot be known.
func unknownDomain(ctx context.Context, dir, name string) error {
	known := domainsIn(ctx, dir)
	if known == nil || slices.Contains(known, name) {
		return nil
	}
	return failed("the system %s has no domain %q%s", nameOf(dir), name, orElse(name, known, "'ward ps' lists them"))
}

// domainsIn lists the domains of the system in a run directory; nil: it does not tell.
func domainsIn(ctx context.Context, dir string) (names []string) {
	domains, err := admin.PS(ctx, dir)
	if err != nil {
		return nil
	}
	for _, d := range domains {
		names = append(names, d.Name)
	}
	return names
}

// noLog is the error for a domain without a log. Of a system that has ended it
// is known only who wrote one.
func noLog(ctx context.Context, dir, name string, previous bool) error {
	if previous && len(logFiles(dir, name, false)) > 0 {
		return failed("nothing is left of what %s of %s wrote before it was started the last time", name, nameOf(dir))
	}
	if len(logFiles(dir, name, !previous)) > 0 {
		return failed("%s of %s has written nothing since it was started the last time; 'ward logs --previous' shows what it wrote before", name, nameOf(dir))
	}
	if slices.Contains(domainsIn(ctx, dir), name) {
		return failed("%s of %s has written nothing yet", name, nameOf(dir))
	}
	if err := unknownDomain(ctx, dir, name); err != nil {
		return err
	}
	return failed("no log of %q in %s%s", name, nameOf(dir), orElse(name, logsIn(dir), "it has written nothing, or is no domain of this system"))
}

// logsIn lists the domains that have a log.
func logsIn(dir string) (names []string) {
	entries, _ := os.ReadDir(filepath.Join(dir, audit.LogDir))
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".1"))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// systemsHere lists the systems that run or ran here.
func systemsHere() (names []string) {
	for _, root := range []string{runRoot, rootsSystems} {
		entries, _ := os.ReadDir(root)
		for _, e := range entries {
			if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
				names = append(names, e.Name())
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
