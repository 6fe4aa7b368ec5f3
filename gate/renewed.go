package gate

import (
	"context"
	"time"

	"ward/abi"
)

// The reference monitor and the name server may be replaced while this program
// runs (abi.OpRenewed). Gates go on. What the old monitor did not answer is
// asked again, with the same number: the new one answers each number once. What
// was published is published again, which changes nothing where it is known.

// republish bounds how long a publication is tried again.
const republish = 10 * time.Second

// renewed is called by the reader of the control channel.
func (d *Domain) renewed() {
	d.mu.Lock()
	var again [][]byte
	for seq, b := range d.asked {
		if d.pending[seq] != nil {
			again = append(again, b)
		}
	}
	var ifaces []string
	for iface, s := range d.services {
		if iface != NamesInterface && s.publish.Load() {
			ifaces = append(ifaces, iface)
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
		ctx, cancel := context.WithTimeout(context.Background(), republish)
		defer cancel()
		for _, in := range inboxes {
			in.renew(ctx)
		}
		for _, iface := range ifaces {
			for ctx.Err() == nil {
				_, err := d.callNames(ctx, "Publish", interfaceField(iface))
				if err == nil || AsError(err).Code != Unavailable {
					break
				}
			}
		}
	}()
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
