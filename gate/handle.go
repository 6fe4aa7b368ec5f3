package gate

import (
	"context"
	"fmt"

	"ward/abi"
	"ward/image"
)

// Handle is what travels in a message, as a ward.v1.Handle: an offer of an
// instance, for one message of one gate in one direction. The kernel admits the
// message only if the offer is just what the handle says, and once.
type Handle struct {
	ID    uint64 // number of the offer
	Kind  abi.HandleKind
	Size  uint64 // bytes
	Write bool   // whoever is given it may write
}

func (h Handle) access() Access {
	if h.Write {
		return ReadWrite
	}
	return ReadOnly
}

func (h Handle) String() string {
	return fmt.Sprintf("handle %d of %d bytes, to %s", h.ID, h.Size, h.access().verb())
}

// handleFields are the fields of ward.v1.Handle by number, as the end of the
// text of abi.ReasonHandle.
var handleFields = [...]string{"", " (its id)", " (its kind)", " (its size)", " (its write)"}

type linkKey struct{}

// Offer offers memory to the server of this gate, and returns the handle for the
// request that it goes in, or for an item of a client's stream. It may be sent
// once, on this gate. Offers that nobody has redeemed end with the gate, or by
// Retract; there are at most 64 of them.
//
// The policy must permit the server to open the object: to read it, and with
// ReadWrite, to write it. Offering it ReadOnly seals the memory for good: nobody
// can write it from then on, not even its maker, who must have called Unmap.
func (c *Client) Offer(ctx context.Context, m *Memory, access Access) (Handle, error) {
	return c.link.offer(ctx, m, access)
}

// OfferTo is Client.Offer for a handler: it offers memory to the client that
// called, for a reply or an item of the answer. ctx is the handler's context, or
// one made from it.
func OfferTo(ctx context.Context, m *Memory, access Access) (Handle, error) {
	l, err := linkOf(ctx)
	if err != nil {
		return Handle{}, err
	}
	return l.offer(ctx, m, access)
}

// Redeem gets the memory of a handle that a reply of this gate carried. It can
// be done once, and not after the gate was closed.
func (c *Client) Redeem(ctx context.Context, h Handle) (*Memory, error) {
	return c.link.redeem(ctx, h)
}

// Redeem is Client.Redeem for a handler, and the handles of its requests. ctx is
// the handler's context, or one made from it.
func Redeem(ctx context.Context, h Handle) (*Memory, error) {
	l, err := linkOf(ctx)
	if err != nil {
		return nil, err
	}
	return l.redeem(ctx, h)
}

// Retract takes an offer back that nobody has redeemed: because the call was not
// made, or its request was denied, or the receiver lets it lie. Of a handle that
// came here it says that its memory is not wanted: else it counts among the
// offers of who sent it.
func (c *Client) Retract(ctx context.Context, h Handle) error { return c.link.retract(ctx, h) }

// Retract is Client.Retract for a handler.
func Retract(ctx context.Context, h Handle) error {
	l, err := linkOf(ctx)
	if err != nil {
		return err
	}
	return l.retract(ctx, h)
}

// linkOf finds the gate whose handler has this context.
func linkOf(ctx context.Context) (*link, error) {
	if l, ok := ctx.Value(linkKey{}).(*link); ok {
		return l, nil
	}
	return nil, Errorf(FailedPrecondition, "the context is not that of a handler: a client offers and redeems with its Client")
}

// owner is the domain that this end of a gate belongs to.
func (l *link) owner(what string) (*Domain, error) {
	if l.domain == nil {
		return nil, Errorf(FailedPrecondition, "%s: only domains of a system pass memory: this program is outside Ward", what)
	}
	return l.domain, nil
}

func (l *link) offer(ctx context.Context, m *Memory, access Access) (Handle, error) {
	what := "offer memory to " + l.peerName()
	d, err := l.owner(what)
	if err != nil {
		return Handle{}, err
	}
	if !access.valid() {
		return Handle{}, Errorf(InvalidArgument, "%s: access %d: it is ReadOnly or ReadWrite", what, access)
	}
	if m == nil || m.domain != d {
		return Handle{}, Errorf(InvalidArgument, "%s: it is not memory of %s", what, d.name)
	}
	c := abi.Control{Op: abi.OpOffer, Handle: m.reference, Block: l.Block, Access: uint8(access)}
	a, err := d.askOf(ctx, what, "give it", c, abi.OpOK)
	if err != nil {
		return Handle{}, err
	}
	if len(a.fds) != 0 || a.Handle == 0 {
		a.close()
		return Handle{}, &Error{Code: Internal, Message: fmt.Sprintf("%s: the monitor's answer is malformed", what)}
	}
	return Handle{ID: a.Handle, Kind: abi.HandleMemory, Size: uint64(m.size), Write: access == ReadWrite}, nil
}

func (l *link) redeem(ctx context.Context, h Handle) (*Memory, error) {
	what := fmt.Sprintf("redeem %v from %s", h, l.peerName())
	d, err := l.owner(what)
	if err != nil {
		return nil, err
	}
	if h.ID == 0 || h.Kind != abi.HandleMemory || h.Size == 0 || h.Size > image.MaxObjectSize {
		return nil, Errorf(InvalidArgument, "%s: kind %d: it is no handle of memory", what, h.Kind)
	}
	want := grant{access: h.access(), size: h.Size, constant: !h.Write}
	return d.memory(ctx, what, "get it", abi.Control{Op: abi.OpRedeem, Handle: h.ID, Block: l.Block}, want)
}

func (l *link) retract(ctx context.Context, h Handle) error {
	what := fmt.Sprintf("retract %v", h)
	d, err := l.owner(what)
	if err != nil {
		return err
	}
	a, err := d.askOf(ctx, what, "take it back", abi.Control{Op: abi.OpRetract, Handle: h.ID, Block: l.Block}, abi.OpOK)
	a.close()
	return err
}

// peerName names who is at the other end.
func (l *link) peerName() string {
	if l.Peer.Name == "" {
		return "the other end of the gate for " + l.Interface
	}
	return l.Peer.Name
}

// askOf asks the monitor something of objects. An error is one of ctx, or a
// refusal; deed is what no policy permits if it is that. If ctx ends before the
// answer comes, what it grants is given back.
func (d *Domain) askOf(ctx context.Context, what, deed string, c abi.Control, want abi.ControlOp) (answer, error) {
	q, err := d.request(c)
	if err == nil {
		var a answer
		select {
		case got, ok := <-q.ch:
			q.answered()
			if a = got; !ok {
				d.mu.Lock()
				err = d.err
				d.mu.Unlock()
			}
		case <-ctx.Done():
			go func() {
				if a, err := d.await(context.Background(), q); err == nil {
					d.undo(&c, &a)
				}
			}()
			err = contextError(ctx)
		}
		if err == nil {
			return d.granted(what, deed, a, want)
		}
	}
	e := *AsError(err)
	e.Message = what + ": " + e.Message
	return answer{}, &e
}

// granted is an answer, if it is the one that is wanted.
func (d *Domain) granted(what, deed string, a answer, want abi.ControlOp) (answer, error) {
	if a.Op == want {
		return a, nil
	}
	a.close()
	if a.Op != abi.OpRefused {
		return answer{}, &Error{Code: Internal, Message: fmt.Sprintf("%s: the monitor answered with message %d", what, a.Op)}
	}
	e := refusal(what, d.name, &a.Control)
	if a.Reason == abi.ReasonDefault {
		e.Message = fmt.Sprintf("%s: default deny: no policy lets %s %s", what, d.name, deed)
		if a.Text != "" {
			e.Message = what + ": default deny: " + a.Text
		}
	}
	return answer{}, e
}

// undo gives back what an answer grants that nobody takes.
func (d *Domain) undo(c *abi.Control, a *answer) {
	if c.Op == abi.OpMake && c.Access == abi.AccessSecret {
		d.lateSecret(c.Name, a)
		return
	}
	a.close()
	switch {
	case a.Handle == 0:
	case a.Op == abi.OpObject:
		d.drop(a.Handle)
	case a.Op == abi.OpOK && c.Op == abi.OpOffer:
		d.tell(abi.Control{Op: abi.OpRetract, Handle: a.Handle, Block: c.Block})
	}
}

// drop ends a reference.
func (d *Domain) drop(reference uint64) { d.tell(abi.Control{Op: abi.OpDrop, Handle: reference}) }

// tell sends a request of which nobody needs the answer: the monitor reads it
// before what is asked next. It has no error that anybody could do something
// about: references and offers end with the domain, or the system.
func (d *Domain) tell(c abi.Control) {
	q, err := d.request(c)
	if err != nil {
		return
	}
	go func() {
		if a, err := d.await(context.Background(), q); err == nil {
			a.close()
		}
	}()
}
