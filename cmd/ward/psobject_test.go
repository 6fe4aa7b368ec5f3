package main

import (
	"testing"

	"ward/monitor/admin"
)

func TestObjectShown(t *testing.T) {
	for want, o := range map[string]admin.Object{
		`memory frames: create by "makes", read by "looks"; has 2, 1.5 MiB`: {Name: "frames", Kind: "memory", Rights: []admin.Right{{Access: "create", Policy: "makes"}, {Access: "read", Policy: "looks"}}, Held: 2, Bytes: 3 << 19},
		`mailbox orders: read by "store"`:                                   {Name: "orders", Kind: "mailbox", Rights: []admin.Right{{Access: "read", Policy: "store"}}},
		`shared memory board: no right any more; has 1, 4 KiB`:              {Name: "board", Kind: "shared memory", Held: 1, Bytes: 4096},
	} {
		if got := objectRow(&o); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}
