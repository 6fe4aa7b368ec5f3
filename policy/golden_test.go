package policy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ward/abi"
	"ward/image"
	"ward/policy/eval"
)

// show writes what is left of the policy: a line for each rule and verdict.
func show(img *image.Image) string {
	var b strings.Builder
	domain := func(id abi.DomainID) string {
		if id == abi.NoDomain {
			return "user"
		}
		return img.Domains[id].Name
	}
	verdict := func(v image.Verdict) string {
		word, by := "deny", "default"
		if v.Allow {
			word = "allow"
		}
		if v.Policy != abi.NoPolicy {
			by = img.Policies[v.Policy].ID
		}
		return word + " by " + by
	}
	decision := func(where string, m *image.Message, d image.Decision) {
		for i, rules := range [][]image.Rule{d.Forbid, d.Permit} {
			for _, r := range rules {
				audit := ""
				if r.Audit {
					audit = " (audit)"
				}
				fmt.Fprintf(&b, "  %s %s [%s]%s %s\n", where, []string{"forbid", "permit"}[i], img.Policies[r.Policy].ID, audit, eval.Show(img, m, &r.When))
			}
		}
	}
	for _, d := range img.Domains {
		fmt.Fprintf(&b, "domain %s: start %s\n", d.Name, verdict(d.Start))
		for _, e := range d.Exports {
			fmt.Fprintf(&b, "  publish %s %s\n", img.Interfaces[e.Interface].Name, verdict(e.Publish))
		}
		for _, f := range d.Files {
			fmt.Fprintf(&b, "  file %s %s\n", f.Path, verdict(f.Verdict))
		}
		for _, l := range d.Listen {
			fmt.Fprintf(&b, "  listen %s\n", l.Address)
		}
		for _, c := range d.Connect {
			fmt.Fprintf(&b, "  connect %s\n", c)
		}
	}
	for _, r := range img.Routes {
		f := img.Interfaces[r.Interface]
		fmt.Fprintf(&b, "route %s to %s for %s: connect %s, lookup %s\n", domain(r.Client), domain(r.Server), f.Name, verdict(r.Connect), verdict(r.Lookup))
		decision("connect", nil, r.ConnectUser)
		for i, m := range r.Methods {
			decision(f.Methods[i].Name, &img.Messages[f.Methods[i].Request], m.Request)
			decision(f.Methods[i].Name+".reply", &img.Messages[f.Methods[i].Reply], m.Reply)
		}
	}
	return b.String()
}

// TestGolden compiles each testdata/*.cedar for the test system, and compares
// the findings and what is left of the policy with the file beside it.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.cedar")
	if err != nil || len(files) == 0 {
		t.Fatal("no test data", err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			img, _, l := compileText(t, string(text))
			out := l.Error() + "\n"
			if img != nil {
				out += show(img)
			}
			golden(t, strings.TrimSuffix(filepath.Base(f), ".cedar")+".golden", out)
		})
	}
}
