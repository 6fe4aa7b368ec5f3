package gate_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"ward/abi"
	"ward/gate"
	"ward/image"
)

// Numbers by which the handler of these tests knows what to do.
const (
	stay = 7 // until the call ends
	quit = 8 // the same, and answer all the same
)

// staying holds calls that say so, and tells that they are there.
func staying(there chan<- struct{}) gate.HandlerFunc {
	return func(ctx context.Context, call *gate.ServerCall) error {
		var n uint64
		if call.Method() == "Unary" || call.Method() == "Download" {
			b, err := call.Recv()
			if err != nil {
				return err
			}
			n = number(b)
		} else {
			n = stay
		}
		if n != stay && n != quit {
			return call.Send(item(n))
		}
		select {
		case there <- struct{}{}:
		case <-ctx.Done():
		}
		<-ctx.Done()
		if n == quit {
			return call.Send(item(n))
		}
		return ctx.Err()
	}
}

// Calls of all kinds that are given up, by a cancellation or a deadline, through
// the filters: each ends at once for its caller, what the server says too late
// reaches nobody, and the slot comes back: there are more of them than slots.
func TestFilteredGivingUp(t *testing.T) {
	there := make(chan struct{}, 1)
	img := testImage() // in which replies are free: errors may have a text
	for i := range img.Routes[0].Methods {
		for j := range img.Routes[0].Methods[i].Reply.Permit {
			img.Routes[0].Methods[i].Reply.Permit[j].When = image.Expr{Op: image.True}
		}
	}
	c, _, _ := serveFilteredOf(t, img, staying(there))
	for i := range 2*abi.Slots + 3 {
		ctx, cancel := context.WithCancel(t.Context())
		code, n := gate.Canceled, uint64(stay+i/5%2)
		if i%2 == 1 { // at its deadline a call may still be answered
			n = stay
			ctx, cancel = context.WithTimeout(t.Context(), 5*time.Millisecond)
			code = gate.DeadlineExceeded
		}
		result := make(chan error, 1)
		method := []string{"Unary", "Unary", "Upload", "Download", "Chat"}[i%5]
		go func() {
			if method == "Unary" {
				_, err := c.Invoke(ctx, method, item(n), nil)
				result <- err
				return
			}
			st, err := c.NewStream(ctx, method, nil)
			if err == nil && method == "Download" {
				err = st.Send(item(stay))
			}
			if err == nil {
				_, err = st.Recv()
			}
			result <- err
		}()
		select {
		case <-there: // it is pending at the server
		case err := <-result: // its deadline came first
			result <- err
		}
		if code == gate.Canceled {
			cancel()
		}
		wantCode(t, <-result, code)
		cancel()
		select {
		case <-there:
		default:
		}
	}
	for n := range uint64(5) {
		if b, err := c.Invoke(t.Context(), "Unary", item(n), nil); err != nil || number(b) != n {
			t.Fatalf("the gate does not go on: %x, %v", b, err)
		}
	}
	if c.Err() != nil {
		t.Fatal(c.Err())
	}
}

// More callers than slots, through the filters: each gets its own answer, those
// that are denied beside the others are, and no call is answered twice.
func TestFilteredManyOutstanding(t *testing.T) {
	c, _, _ := serveFiltered(t, echo)
	var wg sync.WaitGroup
	for w := range uint64(3 * abi.Slots) {
		wg.Go(func() {
			for i := range uint64(20) {
				n := (w*31 + i*7) % maxReply
				if i%5 == 4 {
					_, err := c.Invoke(context.Background(), "Unary", item(maxRequest+1+n), nil)
					var e *gate.Error
					if !errors.As(err, &e) || e.Policy != "not too many" {
						t.Errorf("a call that is denied: %v", err)
					}
					continue
				}
				if b, err := c.Invoke(context.Background(), "Unary", item(n), nil); err != nil || number(b) != n {
					t.Errorf("%d is answered with %d, %v", n, number(b), err)
				}
			}
		})
	}
	wg.Wait()
	if c.Err() != nil {
		t.Fatal(c.Err())
	}
}
