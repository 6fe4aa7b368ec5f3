package main

import (
	"io/fs"
	"slices"
	"strings"

	"ward/compile"
	"ward/diag"
	"ward/lint"
	"ward/policy"
)

// lintInput, a file in the archive for the confined child, asks it to examine
// the system, too: no source file has this name.
const lintInput = "ward.lint"

// examine adds to the findings of a good system what package lint finds.
func examine(files fs.FS, r *compile.Result, findings *diag.List) {
	if _, err := fs.Stat(files, lintInput); err != nil || r.Image == nil || findings.Failed() {
		return
	}
	s := lint.System{Image: r.Image, System: r.System, Set: r.Set, Policies: policy.Outlines(r.Sources)}
	if whole, more := compile.Dir(files, policy.Whole()); whole.Image != nil && !more.Failed() {
		s.Whole = whole.Image
	}
	*findings = append(*findings, lint.Find(s)...)
	findings.Sort()
}

// silence takes out of the findings, and of what has a default bound or is
// checked by the library only, what allowed names: ID, or ID:SUBJECT. It
// returns what of allowed was of no use.
func silence(c *compiled, allowed []string) (unused []string) {
	used := map[string]bool{}
	quiet := func(id, subject string) bool {
		for _, a := range allowed {
			if a == id || a == id+":"+subject {
				used[a] = true
				return true
			}
		}
		return false
	}
	c.Findings = slices.DeleteFunc(c.Findings, func(f diag.Finding) bool { return f.Lint != "" && quiet(f.Lint, f.Subject) })
	c.Bounds = slices.DeleteFunc(c.Bounds, func(b boundNote) bool { return quiet(lintBound, b.Field) })
	c.Unenforced = slices.DeleteFunc(c.Unenforced, func(u ruleNote) bool { return quiet(lintLibrary, u.Field) })
	return slices.DeleteFunc(slices.Clone(allowed), func(a string) bool { return used[a] })
}

// IDs of what notes tells.
const (
	lintBound   = "missing-bound"
	lintLibrary = "library-rule"
)

// lintIDs are all that --allow knows.
var lintIDs = []string{lint.BlanketPermit, lint.OutOfBounds, lint.Shadowed, lint.Unreachable, lint.ParentMayNot, lint.NotExported, lint.FloatHidden, lint.StreamOpen,
	lintBound, lintLibrary, "never-matches", "uncalled", "transition-on-request", "login-per-domain", "state-unread", "state-unentered",
	"object-uncreated", "object-unread", "object-unwritten", "object-unpassed", "write-without-read"}

// knownLint checks an argument of --allow.
func knownLint(allowed []string) error {
	for _, a := range allowed {
		id, _, _ := strings.Cut(a, ":")
		if !slices.Contains(lintIDs, id) {
			fix := diag.Suggest(id, lintIDs)
			if fix == "" {
				fix = "the kinds are " + strings.Join(lintIDs, ", ")
			}
			return badInput("--allow %s: there is no such kind of finding: %s", a, fix)
		}
	}
	return nil
}
