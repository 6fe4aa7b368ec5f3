package main

import (
	"strings"
	"testing"

	"ward/audit"
	"ward/holder/lifeline"
)

// ancestry has two parents of the same children: what the strict one may call
// the other may call without its limits.
const ancestry = `
  server: { program: FAMILY, args: [kin], exports: [test.v1.Kin] }
  keeper: { program: FAMILY, args: [stay], template: true }
  nest: { program: FAMILY, args: [nest, keeper, test.v1.Kin/One, test.v1.Kin/Two], template: true, children: { number: 1 } }
`

// TestAncestors: what a child of a child sends is judged by the policies of all
// over it, up to the first, and is charged to the rates of all: two branches
// together have what the first one has. The control: the same under a parent
// that has no limits.
func TestAncestors(t *testing.T) {
	needsRoot(t)
	family, err := familyProgram()
	if err != nil {
		t.Fatal(err)
	}
	may := "children: { number: 4, depth: 2, tree: 8 }"
	r := upOf(t, []string{"testdata/system/kin.proto", "testdata/system/ancestry.cedar"},
		strings.ReplaceAll(ancestry+bossLine("strict", may)+bossLine("free", may), "FAMILY", family))
	r.report(lifeline.Ready)
	strict, free := r.attacker("strict"), r.attacker("free")
	const both = "test.v1.Kin/One test.v1.Kin/Two"
	r.says(strict.done("spawn nest", both), `has a child`)
	second := strict.done("spawn keeper", both)
	r.says(free.done("spawn nest", both), `has a child`)
	if second != "keeper#2" {
		t.Fatalf("the second keeper is %s", second)
	}
	two := func(from, verdict string) {
		t.Helper()
		k := r.await(r.since, "a call of Two by "+from, func(k *audit.Record) bool {
			return k.Event == audit.EventCall && k.From == from && k.Method == "test.v1.Kin/Two"
		})
		if k.Verdict != verdict {
			t.Errorf("%s calls Two: %s by %q", from, k.Verdict, k.Policy)
		}
	}
	two("keeper#3", audit.Allow)
	r.await(r.since, "more than five calls of One by who has no such limit", nth(6, "keeper#3", audit.Allow))
	for _, from := range []string{"keeper#1", "keeper#2"} {
		two(from, audit.Deny)
		k := r.await(r.since, "a call of One too many by "+from, nth(1, from, audit.Deny))
		if k.Reason != "rate exceeded" {
			t.Errorf("denied: %+v", k)
		}
	}
	r.await(r.since, "a call of One by who is two generations down", nth(1, "keeper#1", audit.Allow))
	n := 0
	for _, k := range r.records() {
		if called("keeper#1", audit.Allow, "One")(&k) || called("keeper#2", audit.Allow, "One")(&k) {
			n++
		}
	}
	if n != 5 {
		t.Errorf("%d calls of One are admitted of both branches together, of a parent that has 5", n)
	}
	r.ends()
}

// nth matches the nth call of One with a verdict.
func nth(n int, from, verdict string) func(*audit.Record) bool {
	return func(k *audit.Record) bool {
		if called(from, verdict, "One")(k) {
			n--
		}
		return n == 0
	}
}
