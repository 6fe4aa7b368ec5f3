package image

import (
	"strings"
	"testing"
)

// TestUnprivileged: whatever needs root, or a kernel that keeps something, keeps a
// system from running at the level library, by name. The control: what needs neither does not.
func TestUnprivileged(t *testing.T) {
	state := Expr{Op: Not, Args: []Expr{{Op: Eq, Left: Operand{What: CellValue}}}}
	for want, change := range map[string]func(*Image){
		"":                       func(img *Image) { img.Domains[0].Quota.Processes, img.Domains[0].Quota.Files = 9, 99 },
		"require: kernel":        func(img *Image) { img.Require = []string{RequireKernel} },
		"as: root":               func(img *Image) { img.Domains[0].Files = []File{{Path: "/etc"}, {Path: "/var", AsRoot: true}} },
		"listen tcp:127.0.0.1:1": func(img *Image) { img.Domains[0].Listen = []Listen{{Name: "web", Address: "tcp:127.0.0.1:1"}} },
		"connect tcp:1.2.3.4:5":  func(img *Image) { img.Domains[0].Connect = []string{"tcp:1.2.3.4:5"} },
		"quota of memory or CPU": func(img *Image) { img.Domains[0].Quota.Memory = 1 << 20 },
		"of memory or CPU":       func(img *Image) { img.Domains[0].Quota.CPUWeight = 50 },
		"memory or CPU":          func(img *Image) { img.Domains[0].Quota.CPU = 10 },
		"quota of messages":      func(img *Image) { img.Domains[0].Quota.Messages = 5 },
		"quota of disk":          func(img *Image) { img.Domains[0].Quota.Disk = 1 << 20 },
		"children: making":       func(img *Image) { img.Domains[0].Children.Number = 1 },
		"policy \"two\" lets domains lend": func(img *Image) {
			img.Grants = []Grant{{Verdict: Verdict{Policy: 0}}, {Verdict: Verdict{Allow: true, Policy: 1}}, {Verdict: Verdict{Allow: true, Policy: 1}}}
		},
		"a template":             func(img *Image) { img.Domains[0].Template = true },
		"the object board":       func(img *Image) { img.Objects = []Object{{Name: "board"}} },
		"the mailbox box":        func(img *Image) { img.Objects = []Object{{Name: "box", Kind: ObjectMailbox}} },
		"changes state":          func(img *Image) { img.Routes[0].Methods[0].Request.Permit[0].Enter = []Enter{{}} },
		"has a rate":             func(img *Image) { img.Routes[0].Methods[0].Reply.Permit[0].Rate = Rate{Burst: 1} },
		"looks at state":         func(img *Image) { img.Routes[0].Methods[0].Request.Forbid[0].When = state },
		"policy \"reply\" looks": func(img *Image) { img.Routes[0].Methods[0].Reply.Forbid[0].When = state },
	} {
		rules := func(i uint32) []Rule { return []Rule{{Policy: i, When: Expr{Op: True}}} }
		img := &Image{Domains: []Domain{{Name: "d"}}, Policies: []Policy{{ID: "one"}, {ID: "two"}, {ID: "three"}, {ID: "reply"}},
			Routes: []Route{{Methods: []MethodPolicy{{Request: Decision{Permit: rules(0), Forbid: rules(1)}, Reply: Decision{Permit: rules(2), Forbid: rules(3)}}}}}}
		change(img)
		list := img.Unprivileged()
		switch {
		case want == "" && len(list) > 0:
			t.Errorf("the control: %v", &list[0])
		case want != "" && (len(list) != 1 || !strings.Contains(list[0].Error(), want)):
			t.Errorf("%s: %+v", want, list)
		}
	}
}
