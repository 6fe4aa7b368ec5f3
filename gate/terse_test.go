package gate_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"ward/abi"
	"ward/gate"
	"ward/gate/gatetest"
	"ward/image"
)

// A server's error says what a reply may say: all where every reply passes,
// and otherwise its code, even if the server would rather say more.
func TestTerseErrors(t *testing.T) {
	free := testImage()
	for i := range gatetest.Methods {
		free.Routes[0].Methods[i].Reply.Permit = []image.Rule{{Policy: 2, When: image.Expr{Op: image.True}}}
	}
	forbidden := testImage()
	for i := range gatetest.Methods {
		reply := &forbidden.Routes[0].Methods[i].Reply
		reply.Permit = []image.Rule{{Policy: 2, When: image.Expr{Op: image.True}}}
		reply.Forbid = []image.Rule{{Policy: 1, When: image.Expr{Op: image.True}}}
	}
	const secret = "the launch code is 0000"
	for _, c := range []struct {
		name         string
		img          *image.Image
		terse        bool // what the monitor tells the ends
		code         gate.Code
		says, denied bool
		trailer      bool
	}{
		{"every reply passes", free, false, gate.NotFound, true, false, true},
		{"some replies pass", testImage(), true, gate.NotFound, false, false, false},
		{"no reply passes", forbidden, true, gate.NotFound, false, false, false},
		{"a server that says it all the same", testImage(), false, gate.PermissionDenied, false, true, false},
		{"a server that may not answer at all", forbidden, false, gate.PermissionDenied, false, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.img.Metadata = []image.Metadata{{Key: "x-test", Max: 64}}
			ce, se, _ := filteredEndsOf(t, c.img)
			for _, e := range []*gate.End{&ce, &se} {
				e.Metadata = []string{"x-test"}
				e.Methods = slices.Clone(e.Methods)
				for i := range e.Methods {
					e.Methods[i].Terse = c.terse
				}
			}
			cl, _ := serveEnds(t, ce, se, func(_ context.Context, call *gate.ServerCall) error {
				if err := call.Answer(gate.Metadata{"x-test": secret}); err != nil || call.Method() == "Download" {
					return err // the end of a stream
				}
				return &gate.Error{Code: gate.NotFound, Message: secret, Details: []gate.Detail{{TypeURL: "t/a.B", Value: []byte(secret)}}}
			})
			for range 2 * abi.Slots { // what is denied gives its slot back
				_, err := cl.Invoke(t.Context(), "Unary", item(1), nil)
				e := wantCode(t, err, c.code)
				if got := e.Message == secret && len(e.Details) == 1 && e.Metadata["x-test"] == secret; got != c.says {
					t.Fatalf("%+v", e)
				}
				if !c.says && (strings.Contains(e.Message, secret) || len(e.Details) > 0 || len(e.Metadata) > 0) {
					t.Fatalf("%+v", e)
				}
				if e.ReplyDenied != c.denied || e.Message == "" {
					t.Fatalf("%+v", e)
				}
			}
			// The end of a stream tells that it ended, and no more.
			down, err := cl.NewStream(t.Context(), "Download", nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := down.Send(item(1)); err != nil {
				t.Fatal(err)
			}
			_, err = down.Recv()
			if got := down.Trailer()["x-test"] == secret; got != c.trailer || got == replyDenied(err) {
				t.Fatalf("%v, trailer %v", err, down.Trailer())
			}
		})
	}
}

func replyDenied(err error) bool {
	var e *gate.Error
	return errors.As(err, &e) && e.ReplyDenied
}
