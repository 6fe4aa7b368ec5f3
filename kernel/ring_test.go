package kernel

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"ward/abi"
)

// A record that is there comes, one that comes later wakes the reader, a drain
// returns what is left, and a close ends a wait.
func TestRing(t *testing.T) {
	needRoot(t)
	g := newGateTest(t, echoImage(), FabricConfig{Gates: 4, Programs: 8})
	g.open()
	ring := g.rings[abi.Request]
	deny := func(gen uint16) { // a message that is shorter than a header leaves a record
		g.send(abi.Request, []byte{byte(gen)})
	}
	deny(1)
	first, err := ring.Read()
	if err != nil || first.Reason != abi.ReasonShort {
		t.Fatalf("%+v, %v", first, err)
	}
	// Over the end of the buffer, many times: records of 200 bytes in 64 KiB or less.
	const many = 3000
	got := make(chan uint64)
	go func() {
		defer close(got)
		for {
			r, err := ring.Read()
			if err != nil {
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("after a drain: %v", err)
				}
				return
			}
			got <- r.Seq
		}
	}()
	for i := range uint64(many) {
		deny(uint16(i))
		if seq := <-got; seq != first.Seq+1+i {
			t.Fatalf("record %d, want %d", seq, first.Seq+1+i)
		}
	}
	deny(2)
	<-got
	if err := ring.Drain(); err != nil {
		t.Fatal(err)
	}
	if _, more := <-got; more {
		t.Error("a record that nobody wrote")
	}
	deny(3)
	if r, err := ring.Read(); err != nil || r.Seq != first.Seq+many+2 {
		t.Errorf("a drained ring that has a record: %+v, %v", r, err)
	}
	if _, err := ring.Read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("an empty drained ring: %v", err)
	}

	ring.SetDeadline(time.Time{})
	ended := make(chan error)
	go func() {
		_, err := ring.Read()
		ended <- err
	}()
	if err := ring.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, ErrRingClosed) {
		t.Errorf("a read of a ring that was closed: %v", err)
	}
	if _, err := ring.Read(); !errors.Is(err, ErrRingClosed) {
		t.Errorf("a read after the close: %v", err)
	}
}

// Rings that wait cost no threads: their readers are in Go's poller.
func TestRingsShareThreads(t *testing.T) {
	needRoot(t)
	f, err := NewFabric(FabricConfig{Gates: 1, Programs: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const rings = 64
	var wait sync.WaitGroup
	var open []*Ring
	for i := range rings {
		e, err := f.AddEndpoint(abi.DomainID(i), 0, 1, os.Getpagesize())
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		r, err := OpenRing(e.Ring())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, r)
		wait.Go(func() {
			if _, err := r.Read(); !errors.Is(err, ErrRingClosed) {
				t.Errorf("%v", err)
			}
		})
	}
	waiting := func() int {
		stacks := make([]byte, 1<<20)
		n := 0
		for g := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
			if strings.Contains(g, "[IO wait") && strings.Contains(g, "kernel.(*Ring).Read") {
				n++
			}
		}
		return n
	}
	for end := time.Now().Add(20 * time.Second); waiting() < rings; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d of %d readers are in the poller", waiting(), rings)
		}
	}
	for _, r := range open {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	wait.Wait()
}
