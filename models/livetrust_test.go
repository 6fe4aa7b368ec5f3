package models_test

import (
	"os"
	"testing"

	"ward/abi"
)

// What trust spares in the kernel, and what nobody is spared: the signature, the
// bounds, forbids, and who calls. testdata/trust says it of the compiled policy.
func TestLiveTrust(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: loads BPF programs")
	}
	const system = `ward: 1
name: t
interfaces: [t.proto]
policy: [p.cedar]
domains:
  album: {program: /a, ring: service, exports: [{interface: t.v1.T, methods: {Show: {trust: within-ring}}}]}
  kernel: {program: /k, ring: kernel}
  peer: {program: /p, ring: service}
  guest: {program: /g, ring: user}
  stranger: {program: /s, ring: kernel}
`
	const service = `syntax = "proto3";
package t.v1;
import "buf/validate/validate.proto";
message Q {
  uint32 width = 1 [(buf.validate.field).uint32 = {gte: 1, lte: 4096}];
  string name = 2 [(buf.validate.field).string.max_bytes = 8];
}
message A {}
service T { rpc Show(Q) returns (A); rpc Print(Q) returns (A); }
`
	const cedar = `@id("small") permit (principal, action in t::v1::Action::"T", resource)
when { ["kernel", "peer", "guest"].contains(principal.name) && context.width <= 100 };
@id("no drafts") forbid (principal, action in t::v1::Action::"T", resource) when { context.name like "draft*" };
`
	f := loaded(t, compiled(t, files(system, service, cedar)))
	const (
		show, print = 0, 1
		fits        = "\x08\x64"        // width 100
		wide        = "\x08\x80\x20"    // 4096
		beyond      = "\x08\x81\x20"    // 4097
		unknown     = fits + "\x18\x01" // a field 3
		typed       = "\x0a\x01a"       // width as text
		long        = fits + "\x12\x09ninebytes"
		draft       = fits + "\x12\x06draft1"
	)
	for _, c := range []struct {
		what, from string
		method     int
		body       string
		want       bool
	}{
		{"what the policy permits", "guest", show, fits, true},
		{"a less trusted ring is not spared", "guest", show, wide, false},
		{"the same ring is", "peer", show, wide, true},
		{"a more trusted one is", "kernel", show, wide, true},
		{"not for other methods", "kernel", print, wide, false},
		{"of which it may what is permitted", "kernel", print, fits, true},
		{"not a bound", "kernel", show, beyond, false},
		{"not a length", "kernel", show, long, false},
		{"not a field that the signature has not", "kernel", show, unknown, false},
		{"not a type", "kernel", show, typed, false},
		{"not a forbid", "kernel", show, draft, false},
		{"not one without a permit", "stranger", show, fits, false},
	} {
		g := f.gates[[2]string{c.from, "album"}]
		if g == nil {
			if c.want || c.from != "stranger" {
				t.Errorf("%s: no gate", c.what)
			}
			continue
		}
		key := [2]string{c.from, "album"}
		h := abi.Header{Kind: abi.KindCall, Method: uint32(c.method), Slot: f.slots[key], Gen: 1}
		f.slots[key]++
		if got := f.packet(g.Client, g.Server, h, []byte(c.body)); got != c.want {
			t.Errorf("%s: delivered %v, want %v", c.what, got, c.want)
		}
	}
}
