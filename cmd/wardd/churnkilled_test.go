package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"ward/audit"
)

// What domains ask of the monitor while processes of wardd are killed: nobody is
// told that something was done which was not, nothing is done twice, and nothing of
// it is left over.

// whileKilled does something again and again, until it fails or processes of wardd
// have been killed so many times, at random moments. It returns how often that was.
func (r *running) whileKilled(kills int, once func(n int) error) (done int) {
	r.t.Helper()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	r.t.Logf("seed %d", seed)
	killed, ended := make(chan struct{}), make(chan int, 1)
	go func() {
		n := 0
		defer func() { ended <- n }()
		for {
			if err := once(n); err != nil {
				r.t.Errorf("number %d: %v", n, err)
				return
			}
			n++
			select {
			case <-killed:
				return
			default:
			}
		}
	}()
	ways := append(outlived[:len(outlived):len(outlived)], killing{"all", []string{"monitor", "creator", "audit"}}, killing{name: "upgrade"})
	for range kills {
		r.killsAll(ways[random.IntN(len(ways))].roles...)
		<-time.After(time.Duration(random.IntN(150)) * time.Millisecond) // to a random moment
	}
	close(killed)
	done = <-ended
	r.t.Logf("done %d times meanwhile", done)
	return done
}

// endsButOrders ends the system and checks that of no domain records were lost. Of the
// test's own orders, which come from outside, where there is room for twenty, some may be
// while there is no audit writer.
func (r *running) endsButOrders() {
	r.t.Helper()
	r.stops()
	r.leftovers()
	all := r.records()
	r.once(all)
	for i, rec := range all {
		if rec.Seq != uint64(i+1) {
			r.t.Fatalf("record %d has number %d", i+1, rec.Seq)
		}
		if rec.Event == audit.EventLost && rec.From != "user:root" {
			r.t.Errorf("records were lost: %+v", rec)
		}
	}
}

// order gives an order from whatever goroutine.
func (a *attacker) order(order ...any) (string, error) {
	got := a.try(order...)
	rest, ok := strings.CutPrefix(got, "done")
	if !ok {
		return "", fmt.Errorf("%v: %s", order, got)
	}
	return strings.TrimSpace(rest), nil
}

// TestMemoryWhileKilled: memory is made, given by handles, read and closed, while
// processes of wardd are killed: each step has its effect, once, and at the end
// there is room for as many instances as at the beginning.
func TestMemoryWhileKilled(t *testing.T) {
	r, maker, viewer, reader, _ := upMemory(t)
	before := r.domains()
	r.whileKilled(12, func(n int) error {
		text := fmt.Sprint("frame-", n)
		m, err := maker.order("make", "frames", 0)
		if err != nil {
			return err
		}
		if _, err := maker.order("write", m, text); err != nil {
			return err
		}
		if _, err := maker.order("unmap", m); err != nil {
			return err
		}
		got, err := maker.order("show", m, "viewer")
		if err != nil {
			return err
		}
		if said, err := viewer.order("read", got); err != nil || said != text {
			return fmt.Errorf("the viewer reads %q, %v", said, err)
		}
		copied, err := reader.order("fetch", "viewer", got)
		if err != nil {
			return err
		}
		if said, err := reader.order("read", copied); err != nil || said != text {
			return fmt.Errorf("the reader reads %q, %v", said, err)
		}
		for who, n := range map[*attacker]string{maker: m, viewer: got, reader: copied} {
			if _, err := who.order("close", n); err != nil {
				return err
			}
		}
		return nil
	})
	r.sameDomains(before)
	for range 32 {
		maker.room("frames")
	}
	maker.refused("32 instances", "make", "frames", 0)
	r.endsButOrders()
}

// TestDelegationsWhileKilled: an entry point is lent, used and taken back, while
// processes of wardd are killed: after it was taken back no use is admitted, and at
// the end as many may be lent as at the beginning.
func TestDelegationsWhileKilled(t *testing.T) {
	r, chief := upOutlive(t, "children: { number: 2 }")
	borrower := chief.done("spawn borrower")
	takenBack := 0
	before := r.domains()
	r.whileKilled(12, func(n int) error {
		if _, err := chief.order("loan", n, borrower, 0, "1h"); err != nil {
			return err
		}
		<-time.After(20 * time.Millisecond) // some are used, some not: either is right
		if _, err := chief.order("revoke", n); err != nil {
			return err
		}
		takenBack++
		return nil
	})
	r.sameDomains(before)
	const limit = 64 // of delegations that have not ended
	for n := range limit {
		chief.done("loan", fmt.Sprint("last", n), borrower, 0, "1h")
	}
	chief.refused("which is the limit", "loan", "toomany", borrower, 0, "1h")
	r.await(time.Now(), "a use of one that was not taken back", func(k *audit.Record) bool {
		return k.Event == audit.EventCall && k.Verdict == audit.Allow && strings.Contains(k.Detail, "delegation")
	})
	r.endsButOrders()
	// The numbers of delegations come in the order in which they were lent.
	lent, ended, used := map[int]time.Time{}, map[int]time.Time{}, 0
	for _, k := range r.records() {
		number := 0
		if _, rest, ok := strings.Cut(k.Detail, "delegation "); ok {
			fmt.Sscanf(rest, "%d", &number)
		}
		switch {
		case number == 0:
		case k.From == "" || k.To == "":
			t.Errorf("it is not said between whom: %+v", k)
		case k.Event == audit.EventLent && k.Verdict == audit.Allow:
			if _, twice := lent[number]; twice {
				t.Errorf("delegation %d is recorded twice: %+v", number, k)
			}
			lent[number] = k.Time
		case k.Event == audit.EventLentEnded:
			if _, twice := ended[number]; twice {
				t.Errorf("the end of delegation %d is recorded twice: %+v", number, k)
			}
			ended[number] = k.Time
		case k.Event == audit.EventCall && k.Verdict == audit.Allow:
			used++
			if at, is := ended[number]; is && k.Time.After(at) {
				t.Errorf("delegation %d was used after its end: %+v", number, k)
			}
		}
	}
	if used == 0 {
		t.Error("no delegation was used: the test shows nothing")
	}
	t.Logf("%d lent, %d ended, %d uses", len(lent), len(ended), used)
	if len(lent) != takenBack+limit {
		t.Errorf("%d were lent, and %d are recorded", takenBack+limit, len(lent))
	}
	for number := range lent { // those of the last, which ended with the system, too
		if _, is := ended[number]; !is {
			t.Errorf("the end of delegation %d is not recorded", number)
		}
	}
}
