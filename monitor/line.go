package monitor

import "ward/abi"

// Making a gate takes a millisecond, with Monitor.mu held: the kernel verifies
// its two stubs. If all who ask for gates waited for mu, whatever else needs it
// would wait behind all of them, as many times as it needs it: a name server that
// is started again took 60 ms more for that with ten domains that ask all the
// time. So they stand in a line of their own, of which one at a time waits for mu.

// standInLine waits until it is the turn of who asks c, if that is for a gate, by its
// own right or a lent one.
// The result ends the turn. Who asks for the name server does not wait: it asks
// rarely, and others wait for what it does there.
//
// Preconditions: m.mu is not held.
func (m *Monitor) standInLine(c *abi.Control) (leave func()) {
	if c.Op != abi.OpOpen && c.Op != abi.OpBorrow || c.Interface == namesInterface {
		return func() {}
	}
	m.line.Lock()
	return m.line.Unlock
}
