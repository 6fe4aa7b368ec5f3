package monitor

import (
	"testing"

	"ward/abi"
)

// Who asks for a gate waits for those who asked before. Who asks for the name
// server, or for anything else, does not.
func TestLine(t *testing.T) {
	s := startSystem(t, func(c *Config) { withNames(c.Image) })
	c, publisher, names := s.domain(client), s.domain(server), s.domain(nameServer)
	s.m.line.Lock() // somebody has asked, and is not done
	c.send(open(1, "t.Echo"))
	if got, _ := names.ask(serve(1, namesInterface)); got.Op != abi.OpOK {
		t.Errorf("the name server: %+v", got)
	}
	if got, _ := publisher.ask(serve(1, "t.Echo")); got.Op != abi.OpOK {
		t.Errorf("the publisher: %+v", got)
	}
	if got, _ := publisher.ask(open(2, namesInterface)); got.Op != abi.OpGate {
		t.Errorf("a gate to the name server: %+v", got)
	}
	s.ends(second, exit0)
	s.until("an end", func() bool { return s.m.domains[second].state == stateEnded })
	if n := s.fabric.get(&s.fabric.next); n != 1 {
		t.Errorf("%d gates, though the client's turn has not come", n)
	}
	s.m.line.Unlock()
	if got, _ := c.read(); got.Op != abi.OpGate || got.Seq != 1 {
		t.Errorf("the client: %+v", got)
	}
}

// Whoever asks for a gate stands in the line, by a lent right, too.
func TestLineOfWhom(t *testing.T) {
	var m Monitor
	for what, c := range map[string]struct {
		asks   abi.Control
		stands bool
	}{
		"a gate":                     {abi.Control{Op: abi.OpOpen, Interface: "t.Echo"}, true},
		"a gate by a delegation":     {abi.Control{Op: abi.OpBorrow}, true},
		"a gate to the name server":  {abi.Control{Op: abi.OpOpen, Interface: namesInterface}, false},
		"to serve, which makes none": {abi.Control{Op: abi.OpServe, Interface: "t.Echo"}, false},
	} {
		leave := m.standInLine(&c.asks)
		free := m.line.TryLock()
		if free {
			m.line.Unlock()
		}
		if leave(); free == c.stands {
			t.Errorf("%s: stands in line %v, want %v", what, !free, c.stands)
		}
	}
}
