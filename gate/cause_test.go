package gate

import (
	"context"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"ward/abi"
)

// A handler that waits in its call when the gate is revoked is told why by what
// it waits in, and by Cause; of a client that has gone it is told that.
func TestCauseOfCalls(t *testing.T) {
	why := revocation("t.v1.T", &abi.Control{Reason: abi.ReasonForbid, Text: "no longer"})
	for _, c := range []struct {
		name    string
		revoked bool
		want    func(error) bool
	}{
		{"revoked", true, func(err error) bool { return errors.Is(err, error(why)) }},
		{"gone", false, func(err error) bool {
			e := AsError(err)
			return e.Code == Canceled || e.Code == Unavailable && e.Policy == ""
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Close(fds[1]) })
			end := End{Interface: "t.v1.T", Socket: fds[0], Page: -1, Methods: []abi.ControlMethod{{Name: "Both", ClientStream: true, ServerStream: true}}}
			g, err := newServerGate(t.Context(), end, nil)
			if err != nil {
				t.Fatal(err)
			}
			g.link.expect()
			call := &ServerCall{gate: g, h: abi.Header{}, method: &g.link.Methods[0], flow: &flow{}, ctx: callContext{parent: context.Background(), link: g.link}}
			g.calls[0] = call
			if Cause(&call.ctx) != nil {
				t.Error("a cause before the end")
			}
			got := make(chan error)
			go func() { _, err := call.Recv(); got <- err }()
			go func() { got <- call.Send([]byte{8, 1}) }() // it has no credit
			if c.revoked {
				g.link.cut.Store(true) // as the page says
				g.link.tell(why)
			}
			g.fail(nil)
			for range 2 {
				if err := <-got; !c.want(err) {
					t.Errorf("who waits is told %v", err)
				}
			}
			if err := call.send(abi.KindStreamEnd, func(b []byte) ([]byte, error) { return b, nil }); !c.want(err) {
				t.Errorf("who sends is told %v", err)
			}
			if err := Cause(&call.ctx); !c.want(err) {
				t.Errorf("the cause is %v", err)
			}
			below, cancel := context.WithCancel(&call.ctx)
			defer cancel()
			<-below.Done()
			if err := Cause(below); !c.want(err) {
				t.Errorf("the cause of a context made from it is %v", err)
			}
		})
	}
}
