package main

import (
	"encoding/json"
	"errors"
	"os"

	"ward/kernel"
	"ward/monitor"
)

// heldPort is a kernel.Held as the monitor sees it.
type heldPort struct{ *kernel.Held }

func (h heldPort) Describe() (json.RawMessage, *os.File, error) {
	s, program, err := h.Held.Describe()
	if err != nil {
		return nil, nil, err
	}
	b, err := json.Marshal(s)
	if err != nil {
		program.Close()
		return nil, nil, err
	}
	return b, program, nil
}

func (p fabricPort) Hold(r monitor.Route, now monitor.Held) monitor.Held {
	route, ok := r.(*kernel.Route)
	if !ok {
		return nil
	}
	if h, ok := now.(heldPort); ok && h.Judges(route) {
		return now
	}
	if h := route.HoldRequests(); h != nil {
		return heldPort{h}
	}
	return nil
}

func (p fabricPort) RestoreHeld(state json.RawMessage, client monitor.Endpoint, program *os.File) (monitor.Held, error) {
	var s kernel.HeldState
	if err := json.Unmarshal(state, &s); err != nil {
		return nil, err
	}
	e, ok := client.(endpointPort)
	if !ok {
		return nil, errors.New("endpoint of another fabric")
	}
	h, err := p.fabric.RestoreHeld(s, e.Endpoint, program)
	if err != nil {
		return nil, err
	}
	return heldPort{h}, nil
}
