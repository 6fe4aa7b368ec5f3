package policy_test

import (
	"strings"
	"testing"
	"time"

	"ward/image"
)

// TestEffectsThatMeet: two permits may enter different values of one state, or
// state of the gate and other state, only if no message satisfies both.
func TestEffectsThatMeet(t *testing.T) {
	on := func(enter, when string) string {
		return `@enter("` + enter + `") permit (principal is Domain, action == v::v1::Action::"Vault.Lock", resource)` + when + ";\n"
	}
	const conflict, twoWords = "enters Domain::", "one message changes one word"
	for _, c := range []struct{ name, a, b, more, want string }{
		{"the same value", on("principal.level=low", ""), on("principal.level=low", ""), "", ""},
		{"different values", on("principal.level=low", ""), on("principal.level=middle", ""), "", conflict},
		{"by different parameters", on("principal.level=low", " when { context.n < 5 }"), on("principal.level=middle", " when { context.n >= 5 }"), "", ""},
		{"by parameters that overlap in one value", on("principal.level=low", " when { context.n <= 5 }"), on("principal.level=middle", " when { context.n >= 5 }"), "", conflict},
		{"and that value is forbidden", on("principal.level=low", " when { context.n <= 5 }"), on("principal.level=middle", " when { context.n >= 5 }"),
			`@id("f") forbid (principal, action == v::v1::Action::"Vault.Lock", resource) when { context.n == 5 };`, ""},
		{"in different states", on("principal.level=low", ` when { principal.state.badge == "in" }`), on("principal.level=middle", ` when { principal.state.badge != "in" }`), "", ""},
		{"of different callers", on("principal.level=low", ` when { principal == Domain::"clerk" }`), on("principal.level=middle", ` when { principal != Domain::"clerk" }`), "", ""},
		{"of different states", on("principal.level=low", ""), on("principal.badge=in", ""), "", ""},
		{"of the gate and of a domain", on("gate.session=authenticated", ""), on("principal.level=low", ""), "", twoWords},
		{"of the gate or of a domain", on("gate.session=authenticated", " when { context.n == 0 }"), on("principal.level=low", " when { context.n == 1 }"), "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			img, l := compileState(t, stateSystem, `@id("a") `+c.a+`@id("b") `+c.b+c.more)
			if (img == nil) != (c.want != "") || !strings.Contains(l, c.want) {
				t.Errorf("want %q, got %s", c.want, l)
			}
		})
	}
}

// TestRateForms: what @rate says, as a bucket.
func TestRateForms(t *testing.T) {
	for text, want := range map[string]image.Rate{
		"1/s":           {Every: uint64(time.Second), Burst: 1},
		"3/s":           {Every: 333_333_334, Burst: 2}, // rounded up: never more than three
		"100/s":         {Every: uint64(10 * time.Millisecond), Burst: 100},
		"100/s burst 1": {Every: uint64(10 * time.Millisecond), Burst: 1},
		"1/m":           {Every: uint64(time.Minute), Burst: 1},
		"7/ms":          {Every: 142_858, Burst: 6999},
		"1/d burst 7":   {Every: uint64(24 * time.Hour), Burst: 7},
	} {
		img, l := compileState(t, stateSystem, `@id("r") @rate("`+text+`") permit (principal == Domain::"clerk", action == v::v1::Action::"Vault.Lock", resource == Domain::"vault");`)
		if img == nil {
			t.Fatal(l)
		}
		found := false
		for _, r := range img.Routes {
			for _, m := range r.Methods {
				for _, p := range m.Request.Permit {
					if img.Policies[p.Policy].ID != "r" {
						continue
					}
					if found = true; p.Rate != want {
						t.Errorf("%s is %+v, want %+v", text, p.Rate, want)
					}
				}
			}
		}
		if !found {
			t.Errorf("%s: no permit", text)
		}
	}
}
