package monitor

import (
	"slices"

	"ward/abi"
	"ward/audit/event"
	"ward/image"
)

// answerServe: from now on the domain takes gates of an interface, which it
// must export in the image, with a permit to publish it.
func (m *Monitor) answerServe(d *domain, c *abi.Control) {
	iface, ok := m.ifaces[c.Interface]
	i := slices.IndexFunc(d.def.Exports, func(e image.Export) bool { return ok && e.Interface == iface })
	if i < 0 {
		if !ok {
			iface = event.None
		}
		m.tellRefused(d, iface, c.Interface, abi.ReasonDefault, abi.NoPolicy)
		m.refuse(d, c.Seq, abi.ReasonUnknownInterface, abi.NoPolicy, "this domain does not export the interface in system.yaml")
		return
	}
	if v := d.def.Exports[i].Publish; !v.Allow {
		reason, text := abi.ReasonDefault, "no policy lets this domain publish the interface"
		if v.Policy != abi.NoPolicy {
			reason, text = abi.ReasonForbid, m.policyID(v.Policy)
		}
		m.tellRefused(d, iface, c.Interface, reason, v.Policy)
		m.refuse(d, c.Seq, reason, v.Policy, text)
		return
	}
	d.serving[iface], d.served[iface] = true, true
	d.checkReady()
	m.keepNow(d)
	if d.def.Names && d.restarts > 0 { // who has published does so again
		m.tellRenewedLate(d)
	}
	if m.answer(d, &abi.Control{Op: abi.OpOK, Seq: c.Seq}) {
		m.retry()
	}
}

// tellRefused records that a domain may not serve an interface, and so not publish it.
func (m *Monitor) tellRefused(d *domain, iface uint32, name string, r abi.Reason, policy uint32) {
	e := event.New(event.Serve)
	e.From, e.Interface, e.Reason, e.Policy = d.id, iface, r, policy
	if iface == event.None {
		e.Text = name
	}
	m.Audit.Event(e)
}

// answerUnserve: no new gates of an interface. Those that are open go on.
func (m *Monitor) answerUnserve(d *domain, c *abi.Control) {
	if iface, ok := m.ifaces[c.Interface]; !ok || !d.serving[iface] {
		m.refuse(d, c.Seq, abi.ReasonUnknownInterface, abi.NoPolicy, "this domain does not serve the interface")
		return
	} else {
		delete(d.serving, iface)
		m.keepNow(d)
	}
	m.answer(d, &abi.Control{Op: abi.OpOK, Seq: c.Seq})
}
