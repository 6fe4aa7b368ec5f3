package monitor

import (
	"errors"
	"os"
)

// The creator is given a new image before the monitor decides by it: else it
// would refuse to start what is new. In between, either may die, and whoever
// comes in its place must end up with the same image as the other.

// keptRenewing is kept while the creator may have another image than the one
// that is in force.
const keptRenewing = "renewing"

// renewing notes that the creator is about to have an image that is not in
// force yet. A creator that comes from now on, in place of one that dies, is given it.
func (m *Monitor) renewing(sealed *os.File) error {
	f, err := dup(sealed)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.coming = f
	m.put(keptRenewing, nil)
	return nil
}

// settled ends that: the image is in force, or will not be.
//
// Preconditions: m.mu is held.
func (m *Monitor) settled() {
	if m.coming != nil {
		m.coming.Close()
		m.coming = nil
	}
}

// imageOfCreator returns the image that a new creator must have, or nil if it is
// the one that it was started with. The receiver closes it.
//
// Preconditions: m.mu is held.
func (m *Monitor) imageOfCreator() (*os.File, error) {
	switch {
	case m.coming != nil:
		return dup(m.coming)
	case m.changedImage && m.Sealed != nil:
		return dup(m.Sealed)
	}
	return nil, nil
}

// renewed takes over from a monitor that died while the creator may have had an
// image that did not come into force: it is given the one that is.
func (r *restoring) renewed(string, *Kept) error {
	if r.m.Sealed == nil {
		return errors.New("there is no descriptor of the image")
	}
	r.m.changedImage = true
	return nil
}
