package main

import (
	"slices"
	"strings"
	"testing"

	"ward/monitor/admin"
)

// TestTrafficShown: of what waits on gates `ward ps` shows how much of how much and
// where, and only the limit where nobody counts.
func TestTrafficShown(t *testing.T) {
	gate := &admin.Gate{Interface: "t.Echo", From: "a", To: "b"}
	used := uint64(26)
	for _, c := range []struct {
		name     string
		messages uint32
		t        *admin.Traffic
		want     []string
	}{
		{"nobody counts", 0, nil, []string{"pending calls: 64 on each gate", "queued: BUFFER on each gate, which then makes its sender wait"}},
		{"nothing waits", 100, &admin.Traffic{Calls: &admin.Backlog{Limit: 64}, Answers: &admin.Backlog{Limit: 64}, Queued: &admin.Backlog{Limit: 212992}, Unread: &admin.Backlog{Limit: 212992}, Messages: new(uint64)},
			[]string{"pending calls: 0 of 64 on each gate", "queued: 0 B of 208 KiB on each gate, which then makes its sender wait", "messages: 0 of 100 requests a second"}},
		{"much waits", 100, &admin.Traffic{Calls: &admin.Backlog{All: 5, Most: 3, Limit: 64, Gate: gate}, Answers: &admin.Backlog{All: 64, Most: 64, Limit: 64, Gate: gate},
			Queued: &admin.Backlog{All: 2048, Most: 2048, Limit: 212992, Gate: gate}, Unread: &admin.Backlog{All: 4096, Most: 1024, Limit: 212992, Gate: gate}, Messages: &used},
			[]string{"pending calls: 3 of 64 on t.Echo: a → b, 5 on all gates", "calls to answer: 64 of 64 on t.Echo: a → b", "queued: 2 KiB of 208 KiB on t.Echo: a → b, which then makes its sender wait",
				"not read yet: 1 KiB of 208 KiB on t.Echo: a → b, 4 KiB on all gates", "messages: 26 of 100 requests a second"}},
	} {
		for i := range c.want {
			c.want[i] = strings.ReplaceAll(c.want[i], "BUFFER", sized(sendBuffer()))
		}
		if got := trafficRows(&admin.Quota{Pending: 64, Messages: c.messages}, c.t); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
