package gate

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
)

// at tells a Check at which end it is.
func (c *Check) at(e *End) {
	c.block = e.Block
	for i := range min(len(c.terse), len(e.Methods)) {
		c.terse[i] = e.Methods[i].Terse
	}
}

// outgoing checks the shape of a message that is about to be sent, and returns
// why the kernel would drop it, or ReasonNone.
func (l *link) outgoing(h *abi.Header) (abi.Reason, uint32) {
	r := l.Check.shape(l.sends, h, int(h.Length))
	if r == abi.ReasonNone {
		if l.sends == abi.Request {
			l.pending.sent(h)
		}
		return r, 0
	}
	detail := uint32(0)
	if r == abi.ReasonDefault {
		detail = abi.NoPolicy
	}
	j := rejected(r, detail)
	l.Check.report(l.sends, h, abi.HeaderSize+int(h.Length), &j)
	return r, detail
}

// incoming checks a message that came to a client's end. What is denied is
// marked like what the kernel cuts to its header; an answer to no call is an
// error, and breaks the gate.
func (l *link) incoming(m *message, payload []byte) error {
	if m.denied {
		return fmt.Errorf("a message whose length is not that of its header, where the kernel cuts nothing")
	}
	if !l.pending.answers(&m.Header) {
		return fmt.Errorf("an answer to a call that is not pending (method %d, slot %d, generation %d)", m.Method, m.Slot, m.Gen)
	}
	j := l.Check.judge(abi.Reply, &m.Header, payload)
	l.Check.report(abi.Reply, &m.Header, m.n, &j)
	m.denied = !j.reason.Allowed()
	return nil
}

// examine checks a message that came to a server's end. done says that there is
// nothing more to do with it. An error breaks the gate: such messages only
// somebody sends who does not use this library.
func (g *serverGate) examine(m *message, payload []byte) (done bool, err error) {
	check := g.link.Check
	if m.denied {
		return true, fmt.Errorf("a message whose length is not that of its header")
	}
	j := check.judge(abi.Request, &m.Header, payload)
	check.report(abi.Request, &m.Header, m.n, &j)
	g.mu.Lock()
	c := g.calls[m.Slot]
	if c != nil && c.h.Gen == m.Gen && m.Kind != abi.KindCall {
		stray := c.flow == nil && m.Kind != abi.KindCancel || c.flow != nil && c.ended && m.Kind == abi.KindStreamItem
		if c.h.Method != m.Method || stray {
			err = fmt.Errorf("a message of kind %d for method %d in a call of method %d", m.Kind, m.Method, c.h.Method)
		} else if c.flow != nil && !j.reason.Allowed() {
			c.refused = g.denied(&m.Header, &j)
			notify(&c.arrival)
		} else if m.Kind == abi.KindStreamItem && c.refused != nil {
			done = true // no stream with a hole reaches the handler
		}
	}
	g.mu.Unlock()
	if err != nil || j.reason.Allowed() {
		return done || err != nil, err
	}
	if m.Kind == abi.KindCall {
		if c != nil {
			return true, fmt.Errorf("a call in slot %d, where one is pending", m.Slot)
		}
		g.refuse(&m.Header, &j)
	}
	return true, nil
}

// denied is the error of a denial, with what the client's library reads of it.
func (g *serverGate) denied(h *abi.Header, j *judgement) *Error {
	names := make([]string, len(g.link.Check.img.Policies))
	for i := range names {
		names[i] = g.link.Check.img.Policies[i].ID
	}
	e := denied(g.link.method(h.Method), j.reason, j.detail, names)
	e.Details = append(e.Details, denialDetail(j.reason, j.detail))
	return e
}

// refuse answers a call that was denied.
func (g *serverGate) refuse(h *abi.Header, j *judgement) {
	if int64(h.Method) >= int64(len(g.link.Methods)) {
		return // the kernel lets no such call pass: nobody waits for an answer
	}
	e := g.denied(h, j)
	if g.link.Methods[h.Method].Terse {
		e = e.code()
	}
	out := startPacket()
	defer out.free()
	out.b = appendStatus(out.b, e)
	answer := abi.Header{Kind: abi.KindError, Slot: h.Slot, Gen: h.Gen, Method: h.Method}
	g.link.submit(context.Background(), &answer, out.b) // an error: the client has gone
}

// denialType is the type of the detail by which the server's library tells the
// client's that a message was denied, rather than answered with an error: a
// message with the reason (1) and, if there is one, its detail (2).
const denialType = "type.googleapis.com/ward.v1.Denial"

func denialDetail(r abi.Reason, detail uint32) Detail {
	b := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(r))
	b = protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), uint64(detail))
	return Detail{TypeURL: denialType, Value: b}
}

// denial turns the error of an answer into that of a denial, if it is one.
func (l *link) denial(e *Error) {
	for i, d := range e.Details {
		if d.TypeURL != denialType {
			continue
		}
		var reason, detail uint64
		err := fields(d.Value, func(num protowire.Number, v uint64, _ []byte) error {
			switch num {
			case 1:
				reason = v
			case 2:
				detail = v
			}
			return nil
		})
		r := abi.Reason(reason)
		if err != nil || reason > 0xff || r == abi.ReasonNone || r.Allowed() {
			return
		}
		of := denied("", r, uint32(detail), l.Policies)
		e.Reason, e.Policy, e.Field = r, of.Policy, of.Field
		e.Details = append(e.Details[:i:i], e.Details[i+1:]...)
		return
	}
}
