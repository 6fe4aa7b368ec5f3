package monitor

import (
	"encoding/json"
	"os"
	"strconv"
)

// What a client sends to the name server is judged by a program that looks up nothing of
// the server's process. It is held as long as the client runs, by the monitor and by the
// holder: else all of them would be verified again before anybody can publish at the next
// name server, some 5 ms of a processor each, whenever the last gates of the one before
// were closed before the routes to the next one were loaded, or the monitor had died since.
//
// A program that is held judges nothing: it is in no route.

// keptProgram is of a client, by ring; descriptor: the program.
const keptProgram = "program "

// A Holding is a Fabric of which programs can be held.
type Holding interface {
	// Hold holds the program that judges what the client of a route sends; nil: it cannot
	// be. It is now, which may be nil, if that is the same program.
	Hold(r Route, now Held) Held
	// RestoreHeld takes over what a monitor before this one held; program stays the caller's.
	RestoreHeld(state json.RawMessage, client Endpoint, program *os.File) (Held, error)
}

// A Held is a program that stays loaded until it is released, if no route uses it, too.
type Held interface {
	// Describe says what RestoreHeld needs. The receiver closes the file.
	Describe() (json.RawMessage, *os.File, error)
	Release()
}

// hold holds what judges a client's requests to a name server, in place of what was held
// before. What cannot be held is verified again when it is needed.
//
// Preconditions: m.mu is held; client is running.
func (m *Monitor) hold(client, server *domain, r Route) {
	holding, ok := m.Fabric.(Holding)
	if !ok || !server.def.Names {
		return
	}
	held := holding.Hold(r, client.early.held)
	if held == nil || held == client.early.held {
		return
	}
	m.release(client)
	client.early.held = held
	if m.keeper == nil {
		return
	}
	state, program, err := held.Describe()
	if err != nil {
		m.notKept(key(keptProgram, client.ringID), err)
		return
	}
	defer program.Close()
	m.put(key(keptProgram, client.ringID), state, program)
}

// holdChanged does so with what a change of the policy has put into force.
//
// Preconditions: m.mu is held.
func (m *Monitor) holdChanged() {
	for i, r := range m.loaded {
		route := &m.Image.Routes[i]
		if client := m.domains[route.Client]; client.state == stateRunning {
			m.hold(client, m.domains[route.Server], r)
		}
	}
}

// release gives up what is held of a client that has ended, or of which another is held.
//
// Preconditions: m.mu is held.
func (m *Monitor) release(client *domain) {
	if client.early.held == nil {
		return
	}
	client.early.held.Release()
	client.early.held = nil
	m.drop(key(keptProgram, client.ringID))
}

// program takes over what the monitor before held of a client that runs.
func (r *restoring) program(ring string, k *Kept) error {
	holding, ok := r.m.Fabric.(Holding)
	n, err := strconv.ParseUint(ring, 10, 32)
	if err != nil {
		return err
	}
	d := r.lives[uint32(n)]
	if ok && d != nil && d.state == stateRunning && d.endpoint != nil && len(k.Files) == 1 {
		if held, err := holding.RestoreHeld(k.Value, d.endpoint, k.Files[0]); err == nil {
			d.early.held = held
			return nil
		}
	}
	r.m.drop(k.Name) // it is verified again
	return nil
}
