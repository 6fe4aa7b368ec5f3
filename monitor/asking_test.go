package monitor

import (
	"testing"
	"time"

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
