package gate_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
	"ward/gate"
	"ward/image"
)

// A caller that is too fast learns when it may try again, in the form that gRPC clients know.
func TestRateIsTold(t *testing.T) {
	img := testImage()
	img.Routes[0].Methods[0].Request.Permit[0].Rate = image.Rate{Every: uint64(time.Hour), Burst: 2}
	c, _, _ := serveFilteredOf(t, img, echo)
	for range 2 {
		if _, err := c.Invoke(t.Context(), "Unary", item(7), nil); err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.Invoke(t.Context(), "Unary", item(7), nil)
	e := wantCode(t, err, gate.ResourceExhausted)
	// An hour for the next token, less what has passed.
	if e.Reason != abi.ReasonRate || !e.Denied() || e.RetryAfter > time.Hour || e.RetryAfter < time.Minute || !strings.Contains(e.Message, e.RetryAfter.String()) {
		t.Errorf("%+v", e)
	}
	if len(e.Details) != 1 || e.Details[0].TypeURL != "type.googleapis.com/google.rpc.RetryInfo" {
		t.Fatalf("details %+v", e.Details)
	}
	delay, n := protowire.ConsumeBytes(e.Details[0].Value[1:])
	if n < 0 || e.Details[0].Value[0] != 1<<3|2 {
		t.Fatalf("retry info %x", e.Details[0].Value)
	}
	var got time.Duration
	for unit := map[byte]time.Duration{1 << 3: time.Second, 2 << 3: 1}; len(delay) > 0; {
		v, n := protowire.ConsumeVarint(delay[1:])
		if n < 0 || unit[delay[0]] == 0 {
			t.Fatalf("delay %x", delay)
		}
		got += time.Duration(v) * unit[delay[0]]
		delay = delay[1+n:]
	}
	if got != e.RetryAfter {
		t.Errorf("the retry info says %v, want %v", got, e.RetryAfter)
	}
}

// A wait of more than the 71 minutes that the verdict page has room for is told as that.
func TestLongWaitIsCut(t *testing.T) {
	img := testImage()
	img.Routes[0].Methods[0].Request.Permit[0].Rate = image.Rate{Every: uint64(3 * time.Hour), Burst: 1}
	c, _, _ := serveFilteredOf(t, img, echo)
	if _, err := c.Invoke(t.Context(), "Unary", item(7), nil); err != nil {
		t.Fatal(err)
	}
	_, err := c.Invoke(t.Context(), "Unary", item(7), nil)
	if e := wantCode(t, err, gate.ResourceExhausted); e.RetryAfter != (1<<32-1)*time.Microsecond {
		t.Errorf("retry after %v", e.RetryAfter)
	}
}

// A move that is not declared is told with the policy that would make it.
func TestStateIsTold(t *testing.T) {
	img := testImage()
	img.States = []image.State{{Name: "session", Per: image.PerGate, Values: []string{"new", "used", "gone"}, Moves: []image.Move{{From: 0, To: 1}}}}
	img.Cells = []image.Cell{{Domain: abi.NoDomain, Word: image.GateWord, Bits: 2}}
	img.Routes[0].Methods[0].Request.Permit[0].Enter = []image.Enter{{Value: 1}}
	img.Routes[0].Methods[4].Request.Permit = []image.Rule{{Policy: 0, When: image.Expr{Op: image.True}, Enter: []image.Enter{{Value: 2}}}}
	c, _, _ := serveFilteredOf(t, img, echo)
	if _, err := c.Invoke(t.Context(), "Unary", item(7), nil); err != nil {
		t.Fatal(err)
	}
	_, err := c.Invoke(t.Context(), "Closed", item(7), nil)
	if e := wantCode(t, err, gate.FailedPrecondition); e.Reason != abi.ReasonState || e.Policy != "calls" || !strings.Contains(e.Message, "not declared") {
		t.Errorf("%+v", e)
	}
}
