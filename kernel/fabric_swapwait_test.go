package kernel

import (
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/filter"
	"ward/image"
)

// A judged is a message that a filter has decided on: when, and by which of two
// policies.
type judged struct {
	time   uint64 // CLOCK_BOOTTIME ns, taken by the filter before it ends
	policy uint32
}

// A swapped is a swap to a policy: when it was asked for, and when it was said
// to be done.
type swapped struct {
	begin, done uint64
	policy      uint32
}

// late are the messages that another policy than that of the last swap decided
// on after it was said to be done, and before the next one was asked for; seen
// is how many fell into such times.
func late(messages []judged, swaps []swapped) (wrong []judged, seen int) {
	for i, s := range swaps[:len(swaps)-1] {
		for _, m := range messages {
			if m.time > s.done && m.time < swaps[i+1].begin {
				if seen++; m.policy != s.policy {
					wrong = append(wrong, m)
				}
			}
		}
	}
	return wrong, seen
}

// swapsUnderLoad swaps two policies to and fro while a sender has the filter
// walk through messages as large as there are, so that nearly always one is
// running; commit ends each swap. It stops early if enough says so.
func swapsUnderLoad(t *testing.T, rounds int, commit func(*Swap) error, enough func([]judged, []swapped) bool) ([]judged, []swapped) {
	t.Helper()
	img := streamImage()
	img.Messages[0].Fields[1].MaxLen = abi.MaxMessage
	var specs [2]*filter.Spec
	for i := range specs {
		for m := range img.Routes[0].Methods {
			img.Routes[0].Methods[m].Request = image.Decision{Permit: []image.Rule{{Policy: uint32(i), When: image.Expr{Op: image.True}}}}
		}
		var err error
		if specs[i], err = filter.Build(img, 0, filter.Atoms{User: -1}); err != nil {
			t.Fatal(err)
		}
	}
	g := newGateTest(t, img, FabricConfig{Gates: 4, Programs: 16, AuditAll: true})
	for _, s := range specs { // keeps the programs of both loaded, so that a swap takes no verifier
		r, err := g.f.Load(s, g.client, g.server)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
	}
	if _, err := g.f.Swap([]Change{{g.route, specs[0]}}); err != nil {
		t.Fatal(err)
	}
	g.mustSend(abi.Request, message(abi.Header{Kind: abi.KindCall, Method: mUp, Gen: 1}, nil))
	g.record(abi.Request)
	item := message(abi.Header{Kind: abi.KindStreamItem, Method: mUp, Gen: 1}, lend(2, strings.Repeat("a", abi.MaxMessage-abi.HeaderSize-8)))

	var mu sync.Mutex
	var messages []judged
	var count [2]atomic.Uint64
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		defer stop.Store(true)
		runtime.LockOSThread()
		buf := make([]byte, abi.MaxMessage)
		for !stop.Load() {
			if _, err := unix.Write(int(g.gate.Client.Fd()), item); err != nil {
				t.Errorf("write: %v", err)
				return
			}
			if n, err := unix.Read(int(g.gate.Server.Fd()), buf); n != len(item) {
				t.Errorf("received %d bytes of %d: %v", n, len(item), err)
				return
			}
			r, err := g.rings[abi.Request].Read()
			if err != nil || r.Reason != abi.ReasonPermit || r.Detail > 1 {
				t.Errorf("record %+v, %v", r, err)
				return
			}
			mu.Lock()
			messages = append(messages, judged{r.Time, r.Detail})
			mu.Unlock()
			count[r.Detail].Add(1)
		}
	})
	now := func() uint64 {
		n, err := bootTime()
		if err != nil {
			t.Error(err)
		}
		return n
	}
	var swaps []swapped
	for i := range rounds {
		to := uint32(i+1) % 2
		s, err := g.f.Prepare([]Change{{g.route, specs[to]}})
		if err != nil {
			t.Error(err)
			break
		}
		one := swapped{begin: now(), policy: to}
		if err := commit(s); err != nil {
			t.Error(err)
			break
		}
		one.done = now()
		swaps = append(swaps, one)
		// Messages of after it, before there is another.
		for before := count[to].Load(); count[to].Load() < before+3 && !stop.Load(); {
			runtime.Gosched()
		}
		mu.Lock()
		done := stop.Load() || enough != nil && enough(messages, swaps)
		mu.Unlock()
		if done {
			break
		}
	}
	stop.Store(true)
	wg.Wait()
	return messages, swaps
}

// A swap is done when every filter that ran an old program has ended: of the
// messages that filters decide on after that none is by the old policy, though
// filters that began before are under way at every swap.
func TestSwapWaitsForFilters(t *testing.T) {
	const rounds = 40
	messages, swaps := swapsUnderLoad(t, rounds, func(s *Swap) error {
		_, err := s.Commit()
		return err
	}, nil)
	if len(swaps) < rounds {
		return // it failed above
	}
	wrong, seen := late(messages, swaps)
	if len(wrong) > 0 {
		t.Errorf("%d messages of %d were decided on by a policy that was said to be gone: %+v", len(wrong), seen, wrong[0])
	}
	if seen < rounds {
		t.Errorf("only %d messages between swaps", seen)
	}
	t.Logf("%d messages, %d of them between swaps", len(messages), seen)
}

// The control: if a swap does not wait, a filter that began before decides
// after it, by the old policy.
func TestSwapWithoutWaitIsSeen(t *testing.T) {
	found := false
	swapsUnderLoad(t, 1000, func(s *Swap) error {
		s.f.mu.Lock()
		s.done = true
		_, errs := s.exchange()
		s.f.mu.Unlock()
		for i := range s.changes {
			s.f.unloadPair(s.changes[i].base) // which stay loaded: other routes have them, too
		}
		return errors.Join(errs...)
	}, func(messages []judged, swaps []swapped) bool {
		// The last ones only: what is before was looked at before.
		wrong, _ := late(messages[max(0, len(messages)-16):], swaps[max(0, len(swaps)-3):])
		found = found || len(wrong) > 0
		return found
	})
	if !found && !t.Failed() {
		t.Skip("needs two processors that are free: in 1,000 swaps no filter was running, so TestSwapWaitsForFilters shows little")
	}
}
