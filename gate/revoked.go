package gate

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"ward/abi"
)

// A gate that a new policy no longer allows is dead in the kernel at once. The
// monitor also tells the domains at its ends, on their control channels, why,
// and programs outside Ward, on the connection that their gate came on; the
// library of a domain then closes the gate, which wakes everybody who waits at
// either end, in programs outside Ward, too.

// remember notes a client's end, by which the monitor names it.
func (d *Domain) remember(c *Client) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for block, old := range d.clients {
		if old.Broken() {
			delete(d.clients, block)
		}
	}
	c.link.told = make(chan struct{})
	d.clients[c.link.Block] = c
}

// revoked closes the end that the monitor says is revoked.
func (d *Domain) revoked(c *abi.Control) {
	d.mu.Lock()
	client, service := d.clients[c.Block], d.services[c.Interface]
	d.mu.Unlock()
	why := revocation(c.Interface, c)
	if client != nil && client.link.Interface == c.Interface && client.link.isRevoked() {
		client.link.tell(why)
		client.mu.Lock()
		client.fail(why)
		client.mu.Unlock()
	}
	if service != nil {
		service.revoked(c.Block, why)
	}
}

// revoked closes the gate with a block, if the page says that it is revoked:
// its number may have come to another gate since.
func (s *Service) revoked(block uint32, why *Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for g := range s.gates {
		if g.link.Block == block && (g.link.cut.Load() || g.link.isRevoked()) {
			g.link.tell(why)
			go g.fail(why)
		}
	}
}

// isRevoked is revoked for those who do not use the link otherwise: of one that
// is being closed nobody may read the page any more, and it is false.
func (l *link) isRevoked() bool {
	if !l.enter() {
		return false
	}
	defer l.leave()
	return l.revoked()
}

// tell notes why the gate was revoked. It is called with no lock of the client's
// held: who waits in reason may hold it.
func (l *link) tell(why *Error) {
	select {
	case <-l.told:
	default:
		l.why = why
		close(l.told)
	}
}

// reason is the error of a gate that is revoked, with what the monitor says of
// it: that may come after the kernel denied a message, or the server closed its
// end because it was told.
func (l *link) reason() *Error {
	if l.told == nil {
		l.heard.Do(l.hear)
		return l.why
	}
	limit := time.NewTimer(reasonWait)
	defer limit.Stop()
	select {
	case <-l.told:
		return l.why
	case <-limit.C:
		return revocation(l.Interface, nil)
	}
}

// hear reads why the gate of a program outside Ward was revoked. Nobody listens
// on its connection to the monitor: there is nothing else to come.
func (l *link) hear() {
	l.why = revocation(l.Interface, nil)
	if l.outside < 0 || !l.enter() {
		return
	}
	defer l.leave()
	limit := time.Now().Add(reasonWait)
	poll := []unix.PollFd{{Fd: int32(l.outside), Events: unix.POLLIN}}
	for {
		left := time.Until(limit).Milliseconds()
		if n, err := unix.Poll(poll, int(max(left, 0))); n > 0 {
			break
		} else if err != unix.EINTR {
			return
		}
	}
	a, err := readControl(l.outside)
	if err != nil {
		return
	}
	a.close()
	if a.Op == abi.OpRevoked && a.Interface == l.Interface && a.Block == l.Block {
		l.why = revocation(l.Interface, &a.Control)
	}
}

// revocation is the error of a gate that was revoked. c is nil where the
// monitor has not said why: only that is known which the page shows.
func revocation(iface string, c *abi.Control) *Error {
	e := &Error{Code: PermissionDenied, Reason: abi.ReasonClosed}
	what := "the gate for " + iface + " was revoked: "
	switch {
	case c == nil:
		e.Code = Unavailable
		e.Message = what + "the policy no longer allows it, or it has changed; open another to see which"
	case c.Reason == abi.ReasonForbid:
		e.Policy = c.Text
		e.Message = what + fmt.Sprintf("the policy no longer allows it: forbidden by %q", c.Text)
	case c.Reason == abi.ReasonDefault:
		e.Message = what + "the policy no longer allows it: default deny"
	default:
		e.Code = Unavailable
		e.Message = what + "its interface has changed; open another"
	}
	return e
}
