package policy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ward/image"
	"ward/policy"
	"ward/policy/eval"
)

const stateSystem = `ward: 1
name: vault
interfaces: [vault.proto]
policy: [policy.cedar]
state:
  session: {per: gate, values: [anonymous, authenticated], moves: {anonymous: [authenticated], authenticated: [anonymous]}}
  tries: {per: gate, values: [none, one, two, locked], moves: {none: [one], one: [two, none], two: [locked, none]}}
  level: {per: domain, values: [low, middle, high], initial: high, moves: {high: [middle, low], middle: [low]}}
  badge: {per: domain, values: [out, in, lost], moves: {out: [in], in: [out]}}
  mode: {per: system, values: [normal, locked], moves: {normal: [locked]}}
domains:
  vault: {program: /bin/vault, exports: [v.v1.Vault, {interface: v.v1.Door, socket: /run/door.sock}]}
  spare: {program: /bin/spare, exports: [v.v1.Vault]}
  clerk: {program: /bin/clerk}
`

const stateProto = `syntax = "proto3";
package v.v1;
import "buf/validate/validate.proto";
message LoginRequest { string name = 1 [(buf.validate.field).string.max_len = 16]; }
message LoginReply { bool ok = 1; }
message ReadRequest { int32 n = 1 [(buf.validate.field).int32 = {gte: 0, lte: 9}]; }
message ReadReply { bool done = 1; }
service Vault { rpc Login(LoginRequest) returns (LoginReply); rpc Read(ReadRequest) returns (ReadReply); rpc Lock(ReadRequest) returns (ReadReply); }
service Door { rpc Open(ReadRequest) returns (ReadReply); }
`

func compileState(t testing.TB, yaml, text string, options ...policy.Option) (*image.Image, string) {
	t.Helper()
	yaml = strings.Replace(yaml, "vault.proto", "shop.proto", 1) // as load names it
	sys, set := load(t, yaml, stateProto)
	img, l := policy.Compile(sys, set, []policy.Source{{Name: "policy.cedar", Text: text}}, options...)
	return img, l.Error()
}

// showState writes the places of cells, and the effects of permits.
func showState(img *image.Image) string {
	var b strings.Builder
	for i, c := range img.Cells {
		word := fmt.Sprint("word ", c.Word)
		if c.Word == image.GateWord {
			word = "the gate's word"
		}
		fmt.Fprintf(&b, "cell %s: %s, bits %d to %d\n", eval.Cell(img, uint32(i)), word, c.Shift, c.Shift+c.Bits-1)
	}
	for _, r := range img.Routes {
		client := "user"
		if int(r.Client) < len(img.Domains) {
			client = img.Domains[r.Client].Name
		}
		for m := range r.Methods {
			for dir, d := range []*image.Decision{&r.Methods[m].Request, &r.Methods[m].Reply} {
				for _, p := range d.Permit {
					if len(p.Enter) == 0 && p.Rate == (image.Rate{}) {
						continue
					}
					fmt.Fprintf(&b, "%s, %s, %s%s [%s]:", client, img.Domains[r.Server].Name, img.Interfaces[r.Interface].Methods[m].Name, []string{"", ".reply"}[dir], img.Policies[p.Policy].ID)
					for _, e := range p.Enter {
						fmt.Fprintf(&b, " %s=%s", eval.Cell(img, e.Cell), eval.Value(img, e.Cell, e.Value))
					}
					if p.Rate != (image.Rate{}) {
						fmt.Fprintf(&b, " a token every %d ns, %d at once", p.Rate.Every, p.Rate.Burst)
					}
					b.WriteByte('\n')
				}
			}
		}
	}
	return b.String()
}

// TestStateGolden compiles each testdata/state/*.cedar, and compares the
// findings, the places of state and what is left of the policy.
func TestStateGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/state/*.cedar")
	if err != nil || len(files) == 0 {
		t.Fatal("no test data", err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			img, out := compileState(t, stateSystem, string(text))
			out += "\n"
			if img != nil {
				out += showState(img) + show(img)
			}
			golden(t, "state/"+strings.TrimSuffix(filepath.Base(f), ".cedar")+".golden", out)
		})
	}
}

const keepText = `@id("read") permit (principal, action == v::v1::Action::"Vault.Read", resource) when { principal.state.level == "high" };`

// TestRunning: what a reload has in common with the running image keeps its
// place; what cannot is refused.
func TestRunning(t *testing.T) {
	old, l := compileState(t, stateSystem, keepText)
	if old == nil {
		t.Fatal(l)
	}
	places := func(img *image.Image) map[string]string {
		p := map[string]string{}
		for i, c := range img.Cells {
			p[eval.Cell(img, uint32(i))] = fmt.Sprint(c.Word, c.Shift, c.Bits)
		}
		return p
	}
	for _, c := range []struct{ name, from, to, policy, want string }{
		{"the same", "", "", keepText, ""},
		{"a domain more, in front", "domains:\n", "domains:\n  another: {program: /bin/another}\n", keepText, ""},
		{"a domain less", "  clerk: {program: /bin/clerk}\n", "", keepText, ""},
		{"a state more", "state:\n", "state:\n  a: {per: domain, values: [x, y]}\n  b: {per: gate, values: [x, y]}\n  c: {per: system, values: [x, y, z]}\n", keepText, ""},
		{"another instead", "mode: {per: system", "modus: {per: system", keepText, ""},
		{"a value more", "[low, middle, high]", "[low, middle, high, higher]", keepText, ""},
		{"other moves", "moves: {normal: [locked]}", "moves: {normal: [locked], locked: [normal]}", keepText, ""},
		{"a value in between", "[low, middle, high]", "[low, lower, middle, high]", keepText, `system.yaml:8:38: error: state level: value 2 is "middle" in the running system`},
		{"a value less", "[out, in, lost]", "[out, in]", keepText, `state badge: value 3 is "lost" in the running system`},
		{"another owner", "mode: {per: system", "mode: {per: gate", keepText, "state mode is not per: gate in the running system"},
		{"too many values", "[normal, locked]", "[normal, locked, v3, v4, v5]", keepText, "state mode has 5 values: the running system keeps 2 bits for it"},
		{"what is apart must be together", "", "",
			`@id("lock") @enter("principal.level=low; resource.badge=in") permit (principal == Domain::"clerk", action == v::v1::Action::"Vault.Lock", resource == Domain::"spare");`,
			"have to be in one word, but the running system keeps them where there is no room for all"},
	} {
		t.Run(c.name, func(t *testing.T) {
			img, l := compileState(t, strings.Replace(stateSystem, c.from, c.to, 1), c.policy, policy.Running(old))
			if c.want != "" {
				if img != nil || !strings.Contains(l, c.want) {
					t.Errorf("want %q, got %s", c.want, l)
				}
				return
			}
			if img == nil {
				t.Fatal(l)
			}
			now := places(img)
			for i := range img.Cells {
				for k := range old.Cells {
					a, b := &img.Cells[i], &old.Cells[k]
					if x, y := eval.Cell(img, uint32(i)), eval.Cell(old, uint32(k)); x != y && a.Word == b.Word && a.Mask()&b.Mask() != 0 {
						t.Errorf("%s has bits that were those of %s", x, y)
					}
				}
			}
			for cell, at := range places(old) {
				if p, ok := now[cell]; ok && p != at {
					t.Errorf("%s was at %s, is at %s", cell, at, p)
				}
			}
		})
	}
}

// TestWords: what the words of a system have no room for is refused, and
// several layouts are tried before.
func TestWords(t *testing.T) {
	var big, domains strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&big, "v%d, ", i)
	}
	for i := range 40 {
		fmt.Fprintf(&domains, "  d%d: {program: /bin/d}\n", i)
	}
	values := strings.TrimSuffix(big.String(), ", ")
	states := func(per string, n int) string {
		s := "state:\n"
		for i := range n {
			s += fmt.Sprintf("  s%d: {per: %s, values: [%s], moves: {v0: [v1], v1: [v0]}}\n", i, per, values)
		}
		return s
	}
	enter := func(what string) string {
		return `@id("x") @enter("` + what + `") permit (principal, action == v::v1::Action::"Vault.Lock.reply", resource);
@id("y") permit (principal, action == v::v1::Action::"Vault.Lock", resource);`
	}
	for _, c := range []struct{ name, state, policy, want string }{
		{"four in a gate", states("gate", 4), keepText, ""},
		{"five in a gate", states("gate", 5), keepText, "the states of a gate do not fit its word: 5"},
		{"five of the system", states("system", 5), keepText, ""},
		{"four at once", states("system", 4), enter("system.s0=v1; system.s1=v1; system.s2=v1; system.s3=v1"), ""},
		{"five at once", states("system", 5), enter("system.s0=v1; system.s1=v1; system.s2=v1; system.s3=v1; system.s4=v1"), "take 50 bits, of 48"},
		{"each domain with the system", states("domain", 1) + "  mode: {per: system, values: [a, b], moves: {a: [b]}}\n", enter("resource.s0=v1; system.mode=b"), "do not fit one word: Domain::"},
		{"each domain alone", states("domain", 1) + "  mode: {per: system, values: [a, b], moves: {a: [b]}}\n", enter("resource.s0=v1"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			yaml := stateSystem[:strings.Index(stateSystem, "state:\n")] + c.state + stateSystem[strings.Index(stateSystem, "domains:\n"):] + domains.String()
			text := c.policy
			if text == keepText {
				text = `@id("y") permit (principal, action == v::v1::Action::"Vault.Lock", resource);`
			}
			img, l := compileState(t, yaml, text)
			if (img == nil) != (c.want != "") || !strings.Contains(l, c.want) {
				t.Errorf("want %q, got %.900s", c.want, l)
			}
		})
	}
}

// TestManyEffects: more permits with effects, and more words, than a filter has room for.
func TestManyEffects(t *testing.T) {
	rates := func(n int) string {
		s := ""
		for i := range n {
			s += fmt.Sprintf("@id(\"r%d\") @rate(\"1/s\") permit (principal, action == v::v1::Action::\"Vault.Lock\", resource) when { context.n == %d };\n", i, i%9)
		}
		return s
	}
	if img, l := compileState(t, stateSystem, rates(16)); img == nil {
		t.Error(l)
	}
	if img, l := compileState(t, stateSystem, rates(17)); img != nil || !strings.Contains(l, "more than 16 permits with @enter or @rate") {
		t.Error(l)
	}
	read := func(n int) string {
		s := `@id("x") permit (principal, action == v::v1::Action::"Vault.Lock", resource) when { `
		for i := range n {
			s += fmt.Sprintf("Domain::\"d%d\".state.level == \"low\" || ", i)
		}
		return s + "false };"
	}
	yaml := stateSystem
	for i := range 5 {
		yaml += fmt.Sprintf("  d%d: {program: /bin/d}\n", i)
	}
	if img, l := compileState(t, yaml, read(4)); img == nil {
		t.Error(l)
	}
	if img, l := compileState(t, yaml, read(5)); img != nil || !strings.Contains(l, "look at 5 words of state: the limit is 4") {
		t.Error(l)
	}
}
