package names

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"ward/abi"
	"ward/gate"
)

func peer(id abi.DomainID, pid uint32, name string) abi.Peer {
	return abi.Peer{Domain: id, PID: pid, Name: name}
}

func code(err error) gate.Code {
	if err == nil {
		return gate.OK
	}
	return gate.AsError(err).Code
}

func TestRegistry(t *testing.T) {
	ctx := context.Background()
	var r Registry
	a, b := peer(1, 10, "a"), peer(2, 20, "b")
	if _, _, err := r.Lookup(ctx, "t.Echo", 0, false); code(err) != gate.NotFound {
		t.Errorf("nothing published: %v", err)
	}
	if err := r.Publish(a, "t.Echo"); code(err) != gate.Unavailable {
		t.Errorf("published without a gate: %v", err)
	}
	for _, p := range []abi.Peer{a, b, a} {
		r.Begun(p)
	}
	for _, p := range []abi.Peer{a, b, a} { // the second of a is the same as the first
		if err := r.Publish(p, "t.Echo"); err != nil {
			t.Fatal(err)
		}
	}
	if got, _, err := r.Lookup(ctx, "t.Echo", 0, false); err != nil || !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("servers: %v, %v", got, err)
	}
	if err := r.Withdraw(b, "t.Other"); code(err) != gate.NotFound {
		t.Errorf("withdrawn what was not published: %v", err)
	}
	if err := r.Withdraw(b, "t.Echo"); err != nil {
		t.Error(err)
	}
	r.Ended(a) // one of its two gates
	if got, _, _ := r.Lookup(ctx, "t.Echo", 0, false); !slices.Equal(got, []string{"a"}) {
		t.Errorf("with a gate left: %v", got)
	}
	r.Ended(a)
	if _, _, err := r.Lookup(ctx, "t.Echo", 0, false); code(err) != gate.NotFound {
		t.Errorf("a name outlives its publisher: %v", err)
	}
	r.Ended(b)
	if len(r.servers)+len(r.gates)+len(r.names) != 0 {
		t.Errorf("left: %+v", &r)
	}
}

// A domain that was started again is another publisher: the end of its first
// life takes the names of that away, and no others.
func TestRestarted(t *testing.T) {
	var r Registry
	old, fresh := peer(1, 10, "a"), peer(1, 11, "a")
	r.Begun(old)
	r.Publish(old, "t.Echo")
	r.Begun(fresh)
	if err := r.Publish(fresh, "t.Echo"); err != nil {
		t.Fatal(err)
	}
	r.Ended(old)
	if got, _, err := r.Lookup(context.Background(), "t.Echo", 0, false); err != nil || len(got) != 1 {
		t.Errorf("servers: %v, %v", got, err)
	}
}

func TestUsersDoNotPublish(t *testing.T) {
	var r Registry
	p := abi.Peer{Domain: abi.NoDomain, UID: 1000}
	r.Begun(p)
	if err := r.Publish(p, "t.Echo"); code(err) != gate.PermissionDenied {
		t.Errorf("a user published: %v", err)
	}
}

func TestBounds(t *testing.T) {
	var r Registry
	p := peer(1, 10, "a")
	r.Begun(p)
	for i := range MaxNames {
		if err := r.Publish(p, fmt.Sprint("t.I", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Publish(p, "t.Echo"); code(err) != gate.ResourceExhausted {
		t.Errorf("one name too many: %v", err)
	}
	for i := range uint32(MaxServers) {
		q := peer(abi.DomainID(i+100), i, "q")
		r.Begun(q)
		if err := r.Publish(q, "t.Many"); err != nil {
			t.Fatal(err)
		}
	}
	last := peer(9999, 1, "last")
	r.Begun(last)
	if err := r.Publish(last, "t.Many"); code(err) != gate.ResourceExhausted {
		t.Errorf("one server too many: %v", err)
	}
}

func TestLookupWaits(t *testing.T) {
	var r Registry
	p := peer(1, 10, "a")
	r.Begun(p)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	found := make(chan []string)
	go func() {
		got, _, _ := r.Lookup(ctx, "t.Echo", 0, true)
		found <- got
	}()
	r.Publish(p, "t.Other") // wakes it, in vain
	r.Publish(p, "t.Echo")
	if got := <-found; !slices.Equal(got, []string{"a"}) {
		t.Errorf("found %v", got)
	}
	ended, end := context.WithCancel(context.Background())
	end()
	if _, _, err := r.Lookup(ended, "t.None", 0, true); code(err) != gate.NotFound {
		t.Errorf("waited to the end: %v", err)
	}
}

// Who cannot use the servers that there are waits for another one: of another
// domain, or of one that was started again. Not for one that was there before.
func TestLookupAfter(t *testing.T) {
	var r Registry
	a, again, b := peer(1, 10, "a"), peer(1, 11, "a"), peer(2, 20, "b")
	for _, p := range []abi.Peer{a, again, b} {
		r.Begun(p)
	}
	r.Publish(a, "t.Echo")
	_, first, err := r.Lookup(context.Background(), "t.Echo", 0, false)
	if err != nil || first == 0 {
		t.Fatal(first, err)
	}
	if _, _, err := r.Lookup(context.Background(), "t.Echo", first, false); code(err) != gate.NotFound {
		t.Errorf("none but the first: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	type found struct {
		servers   []string
		published uint64
		err       error
	}
	come := make(chan found)
	after := func(n uint64) {
		servers, published, err := r.Lookup(ctx, "t.Echo", n, true)
		come <- found{servers, published, err}
	}
	go after(first)
	r.Publish(a, "t.Echo") // the same as the first
	r.Publish(b, "t.Other")
	r.Publish(b, "t.Echo")
	second := <-come
	if second.err != nil || !slices.Equal(second.servers, []string{"a", "b"}) || second.published <= first {
		t.Errorf("after %d: %+v", first, second)
	}
	go after(second.published)
	r.Ended(a)
	r.Publish(again, "t.Echo")
	if third := <-come; third.err != nil || !slices.Contains(third.servers, "a") || third.published <= second.published {
		t.Errorf("after %+v: %+v", second, third)
	}
}

// Another name server goes on with greater numbers.
func TestNumbersOutliveTheNameServer(t *testing.T) {
	published := func() uint64 {
		var r Registry
		p := peer(1, 10, "a")
		r.Begun(p)
		for i := range 100 { // more than there are ns between two publications, if time stood still
			r.Publish(p, fmt.Sprint("t.I", i))
		}
		r.Publish(p, "t.Echo")
		_, n, err := r.Lookup(context.Background(), "t.Echo", 0, false)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if first, second := published(), published(); second <= first {
		t.Errorf("%d, then %d", first, second)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte("\x0a\x06t.Echo\x10\x01"))
	f.Add([]byte("\x0a\x06t.Echo"))
	f.Add([]byte("\x0a\xff"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := request(b)
		if (err == nil) != (q.iface != "") || len(q.iface) > 255 {
			t.Errorf("%+v, %v", q, err)
		}
	})
}
