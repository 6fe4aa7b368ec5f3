package monitor

import (
	"strings"
	"testing"
	"time"

	"ward/abi"
	"ward/image"
)

// TestAttackAsksByChildren: children ask the monitor as much as they can, each, at
// one moment. All together wait as one bucket says, and their parent does not wait
// for them. The control: as many buckets as there would be without it let them all pass.
func TestAttackAsksByChildren(t *testing.T) {
	f := startFamily(t, 0, func(*image.Image) {})
	f.m.mu.Lock()
	child, lowest, parent := f.m.children[f.creator.orders[0].Child], f.m.children[f.creator.orders[1].Child], f.m.domains[client]
	f.m.mu.Unlock()
	b := f.m.asksOf(child)
	if b == nil || f.m.asksOf(lowest) != b || f.m.asksOf(parent) != nil {
		t.Fatal("a child and its own child do not share one, or their parent has it, too")
	}
	now := time.Now()
	b = newSharedBucket(b.rate, b.burst, now)
	const children = 50
	waits, control := 0, 0
	var longest time.Duration
	for range children {
		own := newSharedBucket(controlRate, controlBurst, now)
		for range controlBurst {
			if own.owes(1, now) > 0 {
				control++
			}
			if w := b.owes(1, now); w > 0 {
				waits, longest = waits+1, max(longest, w)
			}
		}
	}
	if control != 0 {
		t.Fatalf("control: by itself each of %d waits", control)
	}
	if want := (children - kinTimes) * controlBurst; waits != want {
		t.Errorf("%d of %d wait, want %d", waits, children*controlBurst, want)
	}
	if want := time.Duration(children-kinTimes) * controlBurst * time.Second / (kinTimes * controlRate); longest < want-time.Millisecond || longest > want+time.Millisecond {
		t.Errorf("the last one waits %v, want %v", longest, want)
	}
}

// TestAttackLoansByChildren: children lend as much as each may. All together, with
// who they come from, lend as much as four domains. The control: one less, and it may.
func TestAttackLoansByChildren(t *testing.T) {
	f := startFamily(t, 0, func(i *image.Image) {
		yes := image.Verdict{Allow: true}
		i.Grants = append(i.Grants, grantOf(middle, second, yes), grantOf(client, second, yes))
	})
	const most = kinTimes * maxLent
	others := func(n int) { // what the rest of the family has lent
		f.m.mu.Lock()
		defer f.m.mu.Unlock()
		child := f.m.children[f.creator.orders[0].Child]
		for i := range most {
			delete(f.m.lent, uint32(1000+i))
		}
		for i := range n {
			f.m.lent[uint32(1000+i)] = &delegation{id: uint32(1000 + i), from: child, to: f.m.domains[second]}
		}
	}
	others(most)
	got, _ := f.lowest.ask(lend("second", time.Minute, 0))
	if got.Reason != abi.ReasonQuota || !strings.Contains(got.Text, "family") {
		t.Errorf("one more: %+v", got)
	}
	others(most - 1)
	again := lend("second", time.Minute, 0)
	again.Seq++
	got, _ = f.lowest.ask(again)
	others(0)
	if got.Op == abi.OpRefused {
		t.Errorf("control: %+v", got)
	}
}
