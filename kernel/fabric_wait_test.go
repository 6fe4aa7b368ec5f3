package kernel

import (
	"testing"

	"ward/abi"
	"ward/filter"
	"ward/image"
)

// Of several empty buckets the sender is told the longest wait, and the record
// names the policy whose it is, in whichever order they stand.
func TestLongestWait(t *testing.T) {
	for name, every := range map[string][3]uint64{"first": {hour, hour / 2, hour / 4}, "middle": {hour / 4, hour, hour / 2}, "last": {hour / 4, hour / 2, hour}} {
		t.Run(name, func(t *testing.T) {
			img := stateImage(limited(every[0], 1), limited(every[1], 1), limited(every[2], 1))
			longest := uint32(0)
			for i := range img.Routes[0].Methods[mUnary].Request.Permit {
				img.Routes[0].Methods[mUnary].Request.Permit[i].When = image.Expr{Op: image.True}
				if i < 3 && every[i] == hour {
					longest = uint32(i)
				}
			}
			g := stateTest(t, img, FabricConfig{Buckets: 32})
			g.mustSend(abi.Request, unary(0, 1, 1))
			g.mustDeny(abi.Request, unary(1, 1, 1), abi.ReasonRate)
			if v := g.verdict(abi.Request, 1); uint64(v.Detail()) > hour/1000 || uint64(v.Detail()) < hour/1000*3/4 {
				t.Errorf("told to wait %d µs, want almost an hour", v.Detail())
			}
			if r := g.record(abi.Request); r.Detail != longest {
				t.Errorf("the record names policy %d, want %d", r.Detail, longest)
			}
		})
	}
}

// What a policy says of requests and of replies has a bucket each, of one
// sender and method too: a domain may call what it serves itself.
func TestBucketOfADirection(t *testing.T) {
	img := stateImage(limited(hour, 2))
	m := &img.Routes[0].Methods[mUnary]
	m.Reply.Permit[0].Policy, m.Reply.Permit[0].Rate = m.Request.Permit[0].Policy, m.Request.Permit[0].Rate
	spec, err := filter.Build(img, 0, filter.Atoms{User: -1})
	if err != nil {
		t.Fatal(err)
	}
	a, b := spec.Programs[abi.Request].Rates[0], spec.Programs[abi.Reply].Rates[0]
	if a.Policy != b.Policy || a.Bucket == b.Bucket {
		t.Errorf("buckets %+v and %+v", a, b)
	}
}
