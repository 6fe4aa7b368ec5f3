package monitor

import (
	"fmt"
	"strings"

	"ward/image"
)

// A domain that ends is started again at any time, also while a reload is being
// prepared: with what the old image says of it.

// processes says for each domain whether it has a process, or is getting one.
//
// Preconditions: m.mu is held.
func (m *Monitor) processes() []bool {
	has := make([]bool, len(m.domains))
	for i, d := range m.domains {
		has[i] = d.state == stateRunning || d.state == stateStarting
	}
	return has
}

// refused says which domains stand in the way of a plan.
func (p *plan) refused(img *image.Image) error {
	if len(p.restart) == 0 {
		return nil
	}
	var list []string
	for _, d := range p.restart {
		list = append(list, fmt.Sprintf("%s (%s)", img.Domains[d.domain].Name, strings.Join(d.what, ", ")))
	}
	return fmt.Errorf("these domains run, and what was changed of them cannot change while they do: %s; nothing was changed. Undo that part, or `ward down` and `ward up` the system", strings.Join(list, "; "))
}

// startedSince looks again, now that the image is to come into force, at the
// domains that have a process: one that was started since the plan was made
// would keep what the new image takes from it. Those that may not run are to be stopped.
//
// Preconditions: m.mu is held.
func (c *switching) startedSince() error {
	now := makePlan(c.m.Image, c.img, nil, c.m.processes())
	c.steps.stop = now.stop
	return now.refused(c.img)
}
