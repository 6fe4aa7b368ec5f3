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
	if _, err := r.Lookup(ctx, "t.Echo", false); code(err) != gate.NotFound {
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
	if got, err := r.Lookup(ctx, "t.Echo", false); err != nil || !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("servers: %v, %v", got, err)
	}
	if err := r.Withdraw(b, "t.Other"); code(err) != gate.NotFound {
		t.Errorf("withdrawn what was not published: %v", err)
	}
	if err := r.Withdraw(b, "t.Echo"); err != nil {
		t.Error(err)
	}
	r.Ended(a) // one of its two gates
	if got, _ := r.Lookup(ctx, "t.Echo", false); !slices.Equal(got, []string{"a"}) {
		t.Errorf("with a gate left: %v", got)
	}
	r.Ended(a)
	if _, err := r.Lookup(ctx, "t.Echo", false); code(err) != gate.NotFound {
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
	if got, err := r.Lookup(context.Background(), "t.Echo", false); err != nil || len(got) != 1 {
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
		got, _ := r.Lookup(ctx, "t.Echo", true)
		found <- got
	}()
	r.Publish(p, "t.Other") // wakes it, in vain
	r.Publish(p, "t.Echo")
	if got := <-found; !slices.Equal(got, []string{"a"}) {
		t.Errorf("found %v", got)
	}
	ended, end := context.WithCancel(context.Background())
	end()
	if _, err := r.Lookup(ended, "t.None", true); code(err) != gate.NotFound {
		t.Errorf("waited to the end: %v", err)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte("\x0a\x06t.Echo\x10\x01"))
	f.Add([]byte("\x0a\x06t.Echo"))
	f.Add([]byte("\x0a\xff"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		iface, _, err := request(b)
		if (err == nil) != (iface != "") || len(iface) > 255 {
			t.Errorf("%q, %v", iface, err)
		}
	})
}
