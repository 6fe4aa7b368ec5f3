package main

import (
	"strings"
	"testing"

	"ward/monitor/admin"
)

func TestMailboxShown(t *testing.T) {
	status := 0
	domains := []admin.Domain{
		{Name: "shop", State: admin.Running, PID: 7, UID: 8, RingName: "user", Level: "kernel"},
		{Name: "orders", State: admin.Mail, RingName: "user", Gates: 3, Level: "kernel", Mailbox: &admin.Mailbox{Interface: "shop.v1.Orders", Reader: "store", Writers: 2, Waiting: 2048}},
		{Name: "news", State: admin.Mail, RingName: "user", Level: "kernel", Mailbox: &admin.Mailbox{Reader: "store", Reading: true, Writers: 1}},
		{Name: "store", State: admin.Ended, Status: &status, RingName: "user", Level: "kernel"},
	}
	var out strings.Builder
	if err := listDomains(&out, domains); err != nil {
		t.Fatal(err)
	}
	want := `DOMAIN  STATE    PID  UID  RING    GATES  ALLOWED  DENIED  LOST
shop    running  7    8    0 user  0      0        0       0
orders  mailbox  -    -    0 user  3      0        0       0
news    mailbox  -    -    0 user  0      0        0       0
store   ended 0  -    -    0 user  0      0        0       0
mailbox orders: 2 writers, 2 KiB wait, store does not read it now
mailbox news: 1 writer, nothing waits, store reads it
level kernel: the kernel checks every message
`
	if out.String() != want {
		t.Errorf("%s\nwant\n%s", out.String(), want)
	}
	out.Reset()
	d := domains[1]
	d.Denied = 1
	d.Descriptor = &admin.Descriptor{Quota: admin.Quota{Gates: 512}, Held: []admin.Gate{{Interface: "shop.v1.Orders", From: "shop", To: "orders"}}}
	if err := describe(&out, described{Domain: d}); err != nil {
		t.Fatal(err)
	}
	want = `mailbox  orders
takes    shop.v1.Orders
now      2 writers, 2 KiB wait, store does not read it now
quota    gates: 3 of 512; those whose writer has closed them count until they are read
gates    shop.v1.Orders: shop → orders
denied   1, sent on its reading ends
`
	if out.String() != want {
		t.Errorf("%s\nwant\n%s", out.String(), want)
	}
}
