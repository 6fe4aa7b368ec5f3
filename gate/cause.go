package gate

import (
	"context"
	"time"
)

// Cause says why the context of a handler, or one made from it, has ended: for
// a gate that the policy no longer allows an *Error with the policy that
// forbids it, as its client gets one; else what context.Cause says. It is nil as
// long as the context has not ended. The reason comes from the monitor beside
// the gate, and is waited for, a second at most.
func Cause(ctx context.Context) error {
	err := context.Cause(ctx)
	l, ok := ctx.Value(linkKey{}).(*link)
	if err == nil || !ok || !l.cut.Load() && !l.isRevoked() {
		return err
	}
	return l.reason()
}

// expect makes the link of a server's end wait for what the monitor says of its
// revocation.
//
// Preconditions: nobody else uses the link yet.
func (l *link) expect() { l.told = make(chan struct{}) }

// cutOff notes, before the link is closed and its page unmapped, that the gate
// was revoked.
func (l *link) cutOff() {
	if l.isRevoked() {
		l.cut.Store(true)
	}
}

// heardOf is the reason of a revocation if the monitor has said it already, else err.
func (l *link) heardOf(err error) error {
	if l.told == nil {
		return err
	}
	select {
	case <-l.told:
		return l.why
	default:
		return err
	}
}

// reasonWait is how long the reason of a revocation is waited for. The monitor
// sends it to the client, then to the server, when the last filter of the old
// policy has ended: some 40 ms after messages are denied for 1,000 gates.
const reasonWait = time.Second
