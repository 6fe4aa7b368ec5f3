package monitor

import (
	"strings"
	"testing"

	"ward/abi"
	"ward/image"
)

// A parent lists more children than fit one answer: it gets all of them, by
// several, and is not taken for one that does not read.
func TestListOfManyChildren(t *testing.T) {
	const many = 700
	name := strings.Repeat("leaf", 15)
	s := startSystem(t, func(c *Config) {
		c.Image = changed(t, func(i *image.Image) {
			yes, no := image.Verdict{Allow: true, Policy: 0}, image.Verdict{Policy: abi.NoPolicy}
			i.Domains[client].Children = image.Children{Number: many, Depth: 1, Tree: many}
			i.Domains[client].Quota = image.Quota{Processes: 32 * many, Memory: many << 30, Gates: 4096}
			i.Domains = append(i.Domains, image.Domain{Name: name, Program: "/bin/leaf", Ring: i.Domains[0].Ring, Start: yes, Template: true})
			i.Spawns = []image.Spawn{{Parent: client, Template: 3, Spawn: yes, Adopt: no}}
		})
	})
	d := s.domain(client)
	s.m.mu.Lock()
	for i := range many {
		k, _, err := s.m.family.Add(image.FirstChild+abi.DomainID(i), client, 3, name+"#1", image.ChildQuota{}, false)
		if err != nil {
			t.Fatal(err)
		}
		s.m.children[k.ID] = &domain{id: k.ID, def: k.Def, state: stateEnded, kin: &kin{Kin: k, parent: s.m.domains[client]}}
	}
	s.m.mu.Unlock()
	last, got, answers := uint32(0), 0, 0
	for more := true; more; answers++ {
		a, _ := d.ask(abi.Control{Op: abi.OpChildren, Seq: uint32(answers + 1), Block: last})
		list, err := abi.ParseChildren(a.Text)
		if err != nil || len(list) == 0 || list[0].ID <= last {
			t.Fatalf("%+v, %v", a, err)
		}
		got, last, more = got+len(list), list[len(list)-1].ID, a.Detail != 0
	}
	if got != many || answers < 2 {
		t.Errorf("%d children in %d answers", got, answers)
	}
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	clear(s.m.children)
	if s.m.domains[client].state != stateRunning {
		t.Error("the parent was ended")
	}
}
