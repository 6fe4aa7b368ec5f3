package monitor

import (
	"time"
)

// A name server that is started again keeps all others waiting, so what can be
// done before its process runs is: those who publish are told, and ask for gates
// that they get when it serves; and its endpoint is made, on which the routes of
// those who publish are loaded meanwhile.
//
// Of that nothing is kept for a monitor after this one, which takes a start that
// was under way back (restore.go): the descriptors go with this process.

// A Binder is an Endpoint that can be made before the process that it belongs to.
type Binder interface {
	// Bind says in which cgroup the process is, before the first gate is opened.
	Bind(cgroup uint64)
}

// NoCgroup is the cgroup of an endpoint that is bound later: no sender is in it.
const NoCgroup = ^uint64(0)

// An early is what is made, or held, for a domain before it is needed.
type early struct {
	held     Held          // what judges its requests to the name server (warm.go); nil: nothing
	endpoint Endpoint      // nil: none
	begun    chan struct{} // closed when the start is complete or has failed; nil: it is
	told     time.Time     // when others were told of this name server
}

// hasten does all that for a name server. What cannot be done is done after the start.
//
// Preconditions: m.mu is held; names is about to be started again.
func (m *Monitor) hasten(names *domain) {
	if names.row <= 1 { // of one that ends again and again others are told when it serves
		m.tellRenewed(names)
	}
	e, err := m.Fabric.Endpoint(names.id, NoCgroup, uint32(blocksPerEnd*names.limit), names.ring())
	if err != nil {
		return // it fails again after the start, and is told then
	}
	if _, ok := e.(Binder); !ok {
		e.Close()
		return
	}
	names.early.endpoint, names.early.begun = e, make(chan struct{})
	m.prepare(names, e)
}

// hastened ends that: the name server runs, or could not be started.
//
// Preconditions: m.mu is held.
func (m *Monitor) hastened(names *domain) {
	if names.early.begun == nil {
		if names.endpoint != nil {
			m.prepare(names, names.endpoint)
		}
		return
	}
	if names.endpoint == nil {
		names.endpoint = names.early.endpoint // closed when it is retired
	}
	close(names.early.begun)
	names.early.begun = nil
	m.retire(names)
}

// makeEndpoint makes the endpoint of a domain whose process is there, or takes that which was made before.
func (m *Monitor) makeEndpoint(d *domain) (Endpoint, error) {
	if b, ok := d.early.endpoint.(Binder); ok {
		b.Bind(d.process.Cgroup)
		return d.early.endpoint, nil
	}
	return m.Fabric.Endpoint(d.id, d.process.Cgroup, uint32(blocksPerEnd*d.limit), d.ring())
}

// tellRenewed tells all others that the name server is a new one. Who publishes
// asks for a gate to it then, and publishes again.
//
// Preconditions: m.mu is held.
func (m *Monitor) tellRenewed(names *domain) {
	names.early.told = time.Now()
	for _, other := range m.domains {
		if other != names && other.state == stateRunning {
			m.renew(other)
		}
	}
}

// tellRenewedLate does so when the name server serves, unless those who were told
// before are asking still: as long as their requests wait.
//
// Preconditions: m.mu is held.
func (m *Monitor) tellRenewedLate(names *domain) {
	if time.Since(names.early.told) >= openWait {
		m.tellRenewed(names)
	}
}
