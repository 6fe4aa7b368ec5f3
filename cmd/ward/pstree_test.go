package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"ward/monitor/admin"
)

func kin(name, template string, left time.Duration, rights []string, lineage ...string) admin.Domain {
	return admin.Domain{Name: name, State: admin.Running, PID: 7, UID: 8, Ring: 2, RingName: "system", Level: "kernel",
		Child: &admin.Child{Parent: lineage[0], Lineage: lineage, Template: template, Left: int64(left), Rights: rights}}
}

// TestTree: children stand under who made them; of one whose parent has gone
// the nearest ancestor that is there.
func TestTree(t *testing.T) {
	plain := func(name, state string) admin.Domain {
		return admin.Domain{Name: name, State: state, Ring: 1, RingName: "service", Level: "kernel"}
	}
	three := []string{"a.v1.S/A", "a.v1.S/B", "a.v1.S/C"}
	for name, test := range map[string]struct {
		domains []admin.Domain
		want    string
	}{
		"no children": {[]admin.Domain{plain("one", admin.Running)}, `
DOMAIN  STATE    PID  UID  RING       GATES  ALLOWED  DENIED  LOST
one     running  -    -    1 service  0      0        0       0
level kernel: the kernel checks every message
`},
		"of one that has ended no process is shown": {[]admin.Domain{{Name: "one", State: admin.Ended, Status: new(int), PID: 7, UID: 8, Ring: 1, Level: "kernel"}}, `
DOMAIN  STATE    PID  UID  RING  GATES  ALLOWED  DENIED  LOST
one     ended 0  -    8    1     0      0        0       0
level kernel: the kernel checks every message
`},
		"where nobody counts": {[]admin.Domain{{Name: "one", State: admin.Running, PID: 7, UID: 8, Ring: 1, Level: libraryLevel}}, `
DOMAIN  STATE    PID  UID  RING  GATES  ALLOWED  DENIED  LOST
one     running  7    8    1     0      -        -       0
level library: the kernel checks methods and sizes of messages, the receivers' libraries the parameters
`},
		"a tree": {[]admin.Domain{plain("broker", admin.Running), plain("worker", admin.Template), plain("other", admin.Running),
			kin("worker#1", "worker", 90*time.Second+time.Millisecond, three, "broker"), kin("worker#2", "worker", 0, nil, "broker"),
			kin("worker#3", "worker", time.Millisecond, three[:2], "worker#1", "broker"), kin("worker#5", "worker", 0, nil, "worker#4", "other")}, `
DOMAIN          STATE     PID  UID  RING       GATES  ALLOWED  DENIED  LOST  TEMPLATE  LEFT   MAY CALL
broker          running   -    -    1 service  0      0        0       0
├─ worker#1     running   7    8    2 system   0      0        0       0     worker    1m30s  a.v1.S/A, a.v1.S/B and 1 more
│  └─ worker#3  running   7    8    2 system   0      0        0       0     worker    <1s    a.v1.S/A, a.v1.S/B
└─ worker#2     running   7    8    2 system   0      0        0       0     worker    -      -
worker          template  -    -    1 service  0      0        0       0
other           running   -    -    1 service  0      0        0       0
└─ worker#5     running   7    8    2 system   0      0        0       0     worker    -      -
level kernel: the kernel checks every message
`},
	} {
		var out bytes.Buffer
		if err := listDomains(&out, test.domains); err != nil {
			t.Fatal(err)
		}
		if got := "\n" + out.String(); got != test.want {
			t.Errorf("%s:%s", name, got)
		}
	}
}

// TestDescribeChild: a child's description says whose it is, when it ends, and
// all the policies that must permit a call.
func TestDescribeChild(t *testing.T) {
	d := kin("worker#1", "worker", time.Minute, []string{"a.v1.S/A"}, "worker#4", "broker")
	d.Descriptor = &admin.Descriptor{
		Calls: []admin.Call{{Method: "a.v1.S/A", To: "store", Policies: []string{"workers"},
			Under: []admin.Level{{Of: "worker#4", Policies: []string{"workers"}}, {Of: "broker", Policies: []string{"broker"}, Forbids: []string{"never"}}}}},
		Quota:    admin.Quota{Processes: 4, Memory: 4 << 20, CPUWeight: 50},
		Children: &admin.Offspring{Children: 1, MaxChildren: 2, Descendants: 1, MaxDescendants: 3, Depth: 1, Inherit: "all", Given: admin.Quota{Processes: 4}},
		Loans:    []admin.Loan{{ID: 3, From: "broker", To: "worker#1", Entry: "a.v1.S/B", Left: int64(time.Hour), Uses: 2}, {ID: 4, From: "worker#1", To: "worker#6", Entry: "a.v1.S/A", Left: int64(time.Hour)}},
	}
	var out bytes.Buffer
	if err := describe(&out, described{Domain: d}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"child of     worker#4, child of broker, made of worker\n",
		"ends         in 1m0s or with worker#4\n",
		`may call     a.v1.S/A to store, if "workers", and for worker#4 "workers", and for broker "broker", unless "never"`,
		"children     1 of 2, 1 of 3 in all generations, of which there may be 1\n",
		"             inherit: all\n",
		"             processes: 4 of 8 given to them\n",
		"             CPU: it and they together weigh 50\n",
		"delegations  3: a.v1.S/B in the name of broker, 1h0m0s left, 2 uses in all\n",
		"             4: a.v1.S/A lent to worker#6, 1h0m0s left\n",
		"level        kernel: the kernel checks every message\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("not in it: %q\n%s", want, out.String())
		}
	}
}
