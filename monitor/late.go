package monitor

import (
	"context"
	"errors"

	"ward/abi"
)

// madeLate takes back what the creator may still make, or has made just now, though nobody
// waits for it any more: err is that of the request. The creator, which does one thing after the
// other, is done with that when it answers. Until then the number stays taken. At the end of
// the system nothing is waited for: the creator ends all that it has made.
//
// Preconditions: m.mu is not held.
func (m *Monitor) madeLate(id abi.DomainID, err error) {
	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return
	}
	if u, ok := m.Creator.(Undoer); ok {
		u.Undo(m.work.ctx, id) // an error: the creator has died, and the next one is not told of it, so it ends it
	}
}
