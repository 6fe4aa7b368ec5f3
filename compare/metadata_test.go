package compare_test

import (
	"fmt"
	"slices"
	"testing"

	"ward/compare"
	"ward/image"
)

// tenants gives base a condition on metadata.
func tenants(keys, when string) []string {
	return []string{"policy: [p.cedar]\n", "policy: [p.cedar]\nmetadata: {" + keys + "}\n", "context.size < 10", when}
}

// Conditions on metadata are compared by the names of keys, whatever their
// numbers: what is wider is reported, with an example in the form of the
// context, and what is the same is not.
func TestMetadata(t *testing.T) {
	const is = `context.ward.metadata has x && context.ward.metadata.x == `
	for name, c := range map[string]struct {
		before, after []string
		flips         string // of the change that allows; "": none
	}{
		"the same under another number": {tenants("x: 8", is+`"lab"`), tenants("a: 9, x: 8", is+`"lab"`), ""},
		"the same, written otherwise":   {tenants("x: 8", is+`"lab"`), tenants("x: 8", `context.ward.metadata has x && ["lab"].contains(context.ward.metadata.x)`), ""},
		"another value":                 {tenants("x: 8", is+`"lab"`), tenants("x: 8", `context.ward.metadata has x && ["lab", "shop"].contains(context.ward.metadata.x)`), "map[ward:map[metadata:map[x:shop]]]"},
		"another key of that number":    {tenants("x: 8, a: 8", is+`"lab"`), tenants("a: 8, x: 8", is+`"lab" || context.ward.metadata has a && context.ward.metadata.a == "lab"`), "map[ward:map[metadata:map[a:lab "},
		"a pattern with several parts":  {tenants("x: 9", is+`"lab"`), tenants("x: 9", is+`"lab" || context.ward.metadata has x && context.ward.metadata.x like "l*x*b"`), "map[ward:map[metadata:map[x:"},
		"size of bytes": {tenants("x-bin: 9", `context.ward.metadata has "x-bin" && context.ward.metadata["x-bin"].size < 3`),
			tenants("x-bin: 9", `context.ward.metadata has "x-bin" && context.ward.metadata["x-bin"].size < 4`), "map[ward:map[metadata:map[x-bin:map[size:3]]]]"},
	} {
		t.Run(name, func(t *testing.T) {
			before, after := with(t, c.before...), with(t, c.after...)
			was := fmt.Sprintf("%+v", before.Routes)
			r := compare.Images(before, after)
			at := slices.IndexFunc(r.Changes, func(x compare.Change) bool { return x.Event == "call" && x.Change == compare.Allowed })
			switch {
			case c.flips == "" && slices.ContainsFunc(r.Changes, func(x compare.Change) bool { return x.Event == "call" }):
				t.Errorf("reported: %+v", r.Changes)
			case c.flips == "":
			case at < 0:
				t.Errorf("not reported: %+v", r.Changes)
			case !within(fmt.Sprint(r.Changes[at].Args), c.flips):
				t.Errorf("example %v, want %s", r.Changes[at].Args, c.flips)
			}
			if fmt.Sprintf("%+v", before.Routes) != was {
				t.Error("the comparison changed an image")
			}
			for _, x := range compare.Images(after, before).Changes {
				if x.Event == "call" && x.NewAccess {
					t.Errorf("the way back: %+v", x)
				}
			}
		})
	}
	if r := compare.Images(&image.Image{Name: "sys"}, with(t, tenants("x: 8", is+`"lab"`)...)); r.NewAccess() == 0 {
		t.Error("from nothing: nothing is new")
	}
}

func within(s, start string) bool { return len(s) >= len(start) && s[:len(start)] == start }
