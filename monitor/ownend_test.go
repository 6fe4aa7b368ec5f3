package monitor

import (
	"context"
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"

	"ward/abi"
	"ward/audit/event"
)

// A tellingCreator tells ends while it makes the server's process.
type tellingCreator struct {
	*fakeCreator
	ends []Exit
}

func (c *tellingCreator) Start(ctx context.Context, d abi.DomainID, control, output *os.File) (Process, error) {
	p, err := c.fakeCreator.Start(ctx, d, control, output)
	if d == server {
		for _, x := range c.ends {
			c.exits <- x
		}
		for last := c.ends[len(c.ends)-1].Number; !c.heard(last); {
			runtime.Gosched()
		}
	}
	return p, err
}

func (c *tellingCreator) heard(number uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.acted, number)
}

// TestEndOfAnother: a monitor that died while it started a domain was told of that process, and
// acted on nothing; the creator tells its end again. The next monitor, which starts the domain
// anew, must not take it for the end of the process that is being made: that one would run on,
// and be nobody's.
func TestEndOfAnother(t *testing.T) {
	const its = 1000 + int(server) // as fakeCreator numbers processes
	before := Exit{Domain: server, PID: its - 1, Status: syscall.WaitStatus(3 << 8), Number: 7}
	own := Exit{Domain: server, PID: its, Status: syscall.WaitStatus(4 << 8), Number: 8}
	for name, c := range map[string]struct {
		ends []Exit
		want state
	}{
		"of one before":              {[]Exit{before}, stateRunning},
		"its own":                    {[]Exit{own}, stateEnded},
		"of one before, and its own": {[]Exit{before, own}, stateEnded},
	} {
		t.Run(name, func(t *testing.T) {
			s := startSystem(t, func(cfg *Config) {
				cfg.Creator = &tellingCreator{cfg.Creator.(*fakeCreator), c.ends}
			})
			s.m.mu.Lock()
			defer s.m.mu.Unlock()
			d := s.m.domains[server]
			if d.state != c.want || d.state == stateRunning && d.exit != nil {
				t.Errorf("state %d, want %d; end %+v", d.state, c.want, d.exit)
			}
			if e := s.audit.last(event.Ended); (e.Kind == event.Ended) != (c.want == stateEnded) || e.Kind == event.Ended && (e.PID != uint32(its) || e.Status != 4) {
				t.Errorf("recorded: %+v", e)
			}
		})
	}
}
