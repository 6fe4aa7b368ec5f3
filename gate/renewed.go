package gate

import (
	"context"
	"maps"
	"slices"
	"time"

	"ward/abi"
)

// The reference monitor and the name server may be replaced while this program
// runs (abi.OpRenewed). Gates go on. What the old monitor did not answer is
// asked again, with the same number: the new one answers each number once. What
// was published is published again, which changes nothing where it is known.

// republish bounds one attempt to publish, or to ask for what a mailbox holds, again.
var republish = 10 * time.Second

// renewed is called by the reader of the control channel.
func (d *Domain) renewed() {
	d.mu.Lock()
	var again [][]byte
	for seq, b := range d.asked {
		if d.pending[seq] != nil {
			again = append(again, b)
		}
	}
	var inboxes []*inbox // what their gates are the new monitor does not know
	for _, in := range d.inboxes {
		inboxes = append(inboxes, in)
	}
	d.mu.Unlock()
	go func() { // not here: the answers are read here
		for _, b := range again {
			d.write(b) // an error: the channel is closed, which the reader finds, too
		}
		for _, in := range inboxes {
			go in.renew()
		}
		d.publishAgain()
	}()
}

// publishAgain publishes what this domain serves. One at a time does it: if there
// is another name server meanwhile, that one begins again.
func (d *Domain) publishAgain() {
	if d.renewals.Add(1) > 1 {
		return
	}
	for n := int64(0); !d.renewals.CompareAndSwap(n, 0); {
		n = d.renewals.Load()
		d.mu.Lock()
		services := slices.Collect(maps.Values(d.services))
		d.mu.Unlock()
		for _, s := range services {
			s.publishAgain()
		}
	}
}

// publishAgain tries until the interface is published, is withdrawn, or cannot be:
// a name server may take any time to come, and nobody else says that this domain serves.
func (s *Service) publishAgain() {
	for pause := firstPause; s.publish.Load(); pause = min(2*pause, lastPause) {
		ctx, cancel := context.WithTimeout(context.Background(), republish)
		_, err := s.domain.callNames(ctx, "Publish", interfaceField(s.iface))
		silent := ctx.Err() != nil
		cancel()
		if err == nil {
			return
		}
		if silent {
			s.domain.leaveNames()
		}
		if code := AsError(err).Code; code != Unavailable && code != DeadlineExceeded || s.domain.isLost() {
			return
		}
		rest(context.Background(), pause)
	}
}

// leaveNames gives up the gate to the name server, over which nobody answers: its
// other end may be open somewhere where nobody reads it, and the next call gets
// another one. Calls that wait for answers there are made again (callNames).
func (d *Domain) leaveNames() {
	d.mu.Lock()
	c := d.names
	d.names = nil
	d.mu.Unlock()
	if c != nil {
		c.Close()
	}
}

// isLost reports whether the control channel has ended: nothing new is granted.
func (d *Domain) isLost() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err != nil
}

// asks notes the message of a request, until the function that it returns is called.
func (d *Domain) asks(seq uint32, b []byte) (answered func()) {
	d.mu.Lock()
	if d.asked == nil {
		d.asked = map[uint32][]byte{}
	}
	d.asked[seq] = b
	d.mu.Unlock()
	return func() {
		d.mu.Lock()
		delete(d.asked, seq)
		d.mu.Unlock()
	}
}

// isRenewal handles a message that says that the monitor or the name server is a new one.
func (d *Domain) isRenewal(a *answer) bool {
	if a.Op != abi.OpRenewed {
		return false
	}
	a.close()
	d.renewed()
	return true
}
