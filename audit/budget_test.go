package audit

import (
	"testing"
	"time"
)

func TestBudget(t *testing.T) {
	var b budget
	now := time.Unix(1, 0)
	for i := range denialBurst {
		if !b.spend(now) {
			t.Fatalf("record %d is one too many", i)
		}
	}
	for range 5 {
		if b.spend(now) {
			t.Fatal("a record beyond the budget")
		}
	}
	if n := b.due(now); n != 0 {
		t.Errorf("told of %d at once", n)
	}
	now = now.Add(tellTime)
	if n := b.due(now); n != 5 {
		t.Errorf("told of %d, want 5", n)
	}
	for i := range denialRate {
		if !b.spend(now) {
			t.Fatalf("record %d of the next second is one too many", i)
		}
	}
	if b.spend(now) || b.rest() != 1 || b.rest() != 0 {
		t.Error("the record after that")
	}
	if b.spend(now.Add(time.Hour)); b.used != 1 {
		t.Errorf("used after an hour: %v", b.used)
	}
}
