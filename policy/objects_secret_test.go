package policy_test

import (
	"strings"
	"testing"

	"ward/image"
)

const secretYAML = `ward: 1
name: safe
policy: [policy.cedar]
objects:
  keys: {kind: memory, secret: true, size: 8KiB, count: 4}
  frames: {kind: memory}
domains:
  keeper: {program: /bin/keeper}
  other: {program: /bin/other}
  worker: {program: /bin/worker, template: true}
`

const keeperMakes = `@id("the keeper makes keys") permit (principal == Domain::"keeper", action == ward::Action::"create", resource == Object::"keys");
`

// TestSecretObjects: who makes secret memory has it; a policy for all objects gives
// nobody else any of it, and one that names it is refused.
func TestSecretObjects(t *testing.T) {
	img, findings := compileObjects(t, secretYAML, keeperMakes+`
@id("all") permit (principal, action in [ward::Action::"create", ward::Action::"open.read", ward::Action::"open.write"], resource is Object)
when { principal.name != "other" || resource.name == "frames" };
`)
	if img == nil {
		t.Fatal(findings)
	}
	o := img.Objects[0]
	if o.Kind != image.ObjectSecret || o.Size != 8192 || o.Count != 4 || o.Shared {
		t.Errorf("%+v", o)
	}
	got := showObjects(&image.Image{Objects: img.Objects[:1], Domains: img.Domains, Policies: img.Policies})
	if want := "memory keys: 8192 bytes, 4, shared false\n  create keeper: allowed by the keeper makes keys\n"; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if err := img.Check(); err != nil {
		t.Error(err)
	}
	if !img.Objects[1].Read[1].Allow || !img.Objects[1].Write[1].Allow { // the control
		t.Errorf("of other memory: %+v", img.Objects[1])
	}

	for _, test := range []struct{ policy, want, fix string }{
		{`permit (principal == Domain::"other", action == ward::Action::"open.read", resource == Object::"keys");`, `policy can never match: keys is secret: only the domain that makes it has it`, "permit create"},
		{`permit (principal, action == ward::Action::"open.write", resource == Object::"keys");`, `keys is secret`, "leave `secret` out"},
		{`permit (principal, action in ward::Action::"open", resource == Object::"keys");`, `keys is secret`, ""},
		{`forbid (principal, action in [ward::Action::"create", ward::Action::"open.read"], resource == Object::"keys");`, `keys is secret`, ""},
		{`permit (principal, action == ward::Action::"connect", resource == Object::"keys");`, `keys is memory`, ""},
	} {
		img, findings := compileObjects(t, secretYAML, keeperMakes+`@id("it") `+test.policy)
		if img != nil || !strings.Contains(findings, test.want) || !strings.Contains(findings, test.fix) {
			t.Errorf("%s\n%s", test.policy, findings)
		}
	}
	// Without a maker it is not needed; with one there is nothing to say.
	if _, findings := compileObjects(t, secretYAML, ""); !strings.Contains(findings, "nobody may make keys") {
		t.Errorf("without a maker: %s", findings)
	}
	if _, findings := compileObjects(t, secretYAML, keeperMakes); strings.Contains(findings, "keys") {
		t.Errorf("with one: %s", findings)
	}
}
