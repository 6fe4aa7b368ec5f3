package monitor

import (
	"os"
	"testing"

	"ward/abi"
	"ward/audit/event"
	"ward/image"
)

// follow does with what a domain writes what the audit writer does: of what it is told a
// second time under the same number it closes the pipe (audit.logs.follow).
//
// Preconditions: a.mu is held.
func (a *fakeAudit) follow(e *event.Event, files []*os.File) {
	if e.Kind != event.Output || len(files) != 1 {
		return
	}
	if a.reads == nil {
		a.reads = map[uint32]uint64{}
	}
	if _, known := a.reads[e.Endpoint]; !known {
		a.reads[e.Endpoint], _ = inode(files[0]) // an error: it is nobody's
	}
}

// rings are the numbers of the rings that the audit writer reads.
func (a *fakeAudit) rings() map[uint32]bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := map[uint32]bool{}
	for _, e := range a.events {
		switch e.Kind {
		case event.Ring:
			all[e.Endpoint] = true
		case event.RingGone:
			delete(all, e.Endpoint)
		}
	}
	return all
}

// TestOutputIsRead: before whichever of its messages a monitor dies while it starts a
// domain, first or again: what the process writes that runs then is read. Were it
// announced by a number under which that of another process was, nobody would read it.
func TestOutputIsRead(t *testing.T) {
	read := func(h *heir) {
		t := h.t
		t.Helper()
		for _, id := range []abi.DomainID{client, server, second} {
			var pipe uint64
			var ring uint32
			h.until("it runs", func() bool {
				d := h.m.domains[id]
				if d.state == stateRunning {
					pipe, _ = inode(d.kept.output)
					ring = d.ringID
				}
				return d.state == stateRunning
			})
			h.audit.mu.Lock()
			if got := h.audit.reads[ring]; got != pipe || pipe == 0 {
				t.Errorf("domain %d writes to pipe %d, and %d is read by the number %d", id, pipe, got, ring)
			}
			h.audit.mu.Unlock()
		}
		// Nor is anything left of a process that was not greeted.
		h.until("the rings of who runs are left", func() bool {
			rings := h.audit.rings()
			for _, id := range []abi.DomainID{client, server, second} {
				if !rings[h.m.domains[id].ringID] {
					return false
				}
			}
			return len(rings) == 3
		})
	}
	for name, d := range map[string]doing{
		"first": {begins: true, after: read},
		"again": {
			change: func(c *Config) { c.Image.Domains[server].Restart, c.RestartDelay = image.RestartAlways, 1 },
			before: func(*system) any { return nil },
			do: func(s *system, _ any) {
				s.ends(server, exit3)
				s.starts(server, 2)
				s.until("the next", func() bool { return s.m.domains[server].state == stateRunning })
			},
			after: read,
		},
	} {
		t.Run(name, d.atEveryMessage)
	}
}
