package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ward/audit"
	"ward/holder/lifeline"
)

// TestOutsideGroups: what a policy says of a group holds for its members, by
// their first group and by their others, as the kernel tells them: when they
// connect, and again for each request. Who is in none of them is a stranger.
func TestOutsideGroups(t *testing.T) {
	r := upOf(t, []string{"testdata/system/echo.proto", "testdata/groups/policy.cedar"}, pair)
	r.report(lifeline.Ready)
	const stranger, greeters, banned = 54321, 4242, 4343
	dial := func(gid uint32, text string, groups ...uint32) string {
		cmd := exec.Command(filepath.Join(r.bin, "probe"), "dial", filepath.Join(r.dir, "echo.sock"), text)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: gid, Groups: groups}}
		out, _ := cmd.CombinedOutput()
		return strings.TrimSpace(string(out))
	}
	for what, got := range map[string]string{
		"its first group":  dial(greeters, "hello"),
		"one of its other": dial(stranger, "hello", 7, greeters),
	} {
		if got != "said hello" {
			t.Errorf("%s: %q", what, got)
		}
	}
	for what, c := range map[string]struct{ got, want string }{
		"no such group":                   {dial(stranger, "hello", 7), "default deny"},
		"no group at all":                 {dial(stranger, "hello"), "default deny"},
		"a member, out of policy":         {dial(greeters, "secret"), "default deny"},
		"a member who is forbidden":       {dial(greeters, "hello", banned), "the banned say nothing"},
		"a member, by a group, forbidden": {dial(banned, "hello", greeters), "the banned say nothing"},
	} {
		if !strings.Contains(c.got, c.want) {
			t.Errorf("%s: %q, want %q", what, c.got, c.want)
		}
	}
	rec := r.await(r.since, "the call of a member", func(rec *audit.Record) bool {
		return rec.Event == audit.EventCall && rec.From == "user:54321" && rec.Verdict == audit.Allow
	})
	if rec.Policy != "greeters may greet" || rec.UID != nil && *rec.UID != stranger {
		t.Errorf("record of a member's call: %+v", rec)
	}
	rec = r.await(r.since, "the refusal of a forbidden member", func(rec *audit.Record) bool {
		return rec.Event == audit.EventGate && rec.From == "user:54321" && rec.Policy == "the banned say nothing"
	})
	if rec.Verdict != audit.Deny {
		t.Errorf("record of the refusal: %+v", rec)
	}
}
