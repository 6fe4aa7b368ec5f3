package monitor

import (
	"context"
	"errors"
	"time"

	"ward/abi"
)

// madeLate takes back what the creator may still make, or has made just now, though nobody
// waits for it any more: err is that of the request. The creator, which does one thing after the
// other, is done with that when it answers. Until then the number stays taken. At the end of
// the system nothing is waited for: the creator ends all that it has made. limit bounds the wait; 0: nothing does.
//
// Preconditions: m.mu is not held.
func (m *Monitor) madeLate(id abi.DomainID, err error, limit time.Duration) {
	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return
	}
	u, ok := m.Creator.(Undoer)
	if !ok {
		return
	}
	ctx, cancel := m.work.ctx, func() {}
	if limit > 0 {
		ctx, cancel = context.WithTimeout(ctx, limit)
	}
	defer cancel()
	u.Undo(ctx, id) // an error: the creator has died, and the next one is not told of it, so it ends it
}
