package monitor

import (
	"context"
	"os"
	"testing"
	"time"

	"ward/abi"
	"ward/image"
)

// leaf is a template of which client may make children, who may post as it may.
const leaf abi.DomainID = 4

// spawning is a creator that makes children, too.
type spawning struct{ *fakeCreator }

func (c spawning) Spawn(ctx context.Context, o Order, control, output *os.File) (Process, error) {
	return c.Start(ctx, o.Child, control, output)
}

// withWriters adds other writers to an image with the mailbox: second, which has
// nothing to do with client, and children of client, which share with it. Each writer's share is 3.
func withWriters(img *image.Image) {
	none := image.Verdict{Policy: abi.NoPolicy}
	yes := image.Verdict{Allow: true, Policy: 0}
	img.Domains = append(img.Domains, image.Domain{Name: "leaf", Program: "/bin/leaf", Ring: img.Domains[client].Ring, Start: yes, Template: true})
	for i := range img.Objects {
		for _, list := range []*[]image.Verdict{&img.Objects[i].Create, &img.Objects[i].Read, &img.Objects[i].Write} {
			*list = append(*list, none)
		}
	}
	to := img.Routes[len(img.Routes)-1]
	for _, writer := range []abi.DomainID{second, leaf} {
		to.Client = writer
		img.Routes = append(img.Routes, to)
	}
	img.Domains[box].Quota.Gates = 6
	img.Domains[client].Children = image.Children{Number: 8, Depth: 1, Tree: 8}
	img.Spawns = []image.Spawn{{Parent: client, Template: leaf, Spawn: yes, Adopt: none}}
}

func manyWriters(t *testing.T, change func(*Config)) *system {
	t.Helper()
	return mailSystem(t, func(c *Config) {
		withWriters(c.Image)
		c.Creator = spawning{c.Creator.(*fakeCreator)}
		c.RestartDelay = time.Millisecond
		c.Image.Domains[client].Restart = image.RestartAlways
		if change != nil {
			change(c)
		}
	})
}

// child makes a child of client. What client is told of others is passed over.
func (s *system) child(parent *fakeDomain, seq uint32) (abi.DomainID, *fakeDomain) {
	s.t.Helper()
	ask := abi.SpawnRequest{Template: "leaf", Rights: []string{"t.Letter/Say"}}
	parent.send(abi.Control{Op: abi.OpSpawn, Seq: seq, Text: ask.Encode()})
	for {
		got, _ := parent.read()
		if got.Seq != seq {
			continue
		}
		if got.Op != abi.OpChild {
			s.t.Fatalf("child: %+v", got)
		}
		id := abi.DomainID(got.Block)
		s.creator.mu.Lock()
		d := &fakeDomain{s.t, s.creator.ends[id]}
		s.creator.mu.Unlock()
		if hello, _ := d.read(); hello.Op != abi.OpHello {
			s.t.Fatalf("greeting: %+v", hello)
		}
		return id, d
	}
}

// gone ends a child, and waits until the monitor knows.
func (s *system) gone(id abi.DomainID) {
	s.t.Helper()
	s.ends(id, exit0)
	s.until("the end of a child", func() bool { return s.m.children[id] == nil })
}

// postRefused asks for a gate that the quota of the mailbox does not let be.
func postRefused(t *testing.T, d *fakeDomain, seq uint32) {
	t.Helper()
	if got, _ := d.ask(post(seq)); got.Op != abi.OpRefused || got.Reason != abi.ReasonQuota || got.Text != "no more gates: "+mailboxFull {
		t.Errorf("a gate beyond the share: %+v", got)
	}
}

// TestMailboxShareOfProcesses: a writer's share of a mailbox is not anew with each
// of its processes.
func TestMailboxShareOfProcesses(t *testing.T) {
	s := manyWriters(t, nil)
	for start := range 3 {
		s.starts(client, start+1)
		c := s.domain(client)
		say(t, s.posted(c, 1), "a")
		s.ends(client, exit0)
	}
	s.starts(client, 4)
	postRefused(t, s.domain(client), 1)
	s.posted(s.domain(second), 1) // the control: another writer
}

// TestMailboxShareOfChildren: nor is it with each of its children.
func TestMailboxShareOfChildren(t *testing.T) {
	s := manyWriters(t, nil)
	c := s.domain(client)
	for seq := range uint32(3) {
		id, d := s.child(c, seq+1)
		say(t, s.posted(d, 1), "a")
		s.gone(id)
	}
	_, d := s.child(c, 10)
	postRefused(t, d, 1)
	s.posted(s.domain(second), 1) // the control: another writer
}

// TestMailboxLeftBehind: of processes that have ended while what they posted waits
// there are at most so many of one domain, whatever its share; when it is read,
// others may post again.
func TestMailboxLeftBehind(t *testing.T) {
	s := manyWriters(t, func(c *Config) { c.Image.Domains[box].Quota.Gates = 3 * (MaxLeft + 8) })
	c := s.domain(client)
	for seq := range uint32(MaxLeft) {
		id, d := s.child(c, seq+1)
		say(t, s.posted(d, 1), "a")
		s.gone(id)
	}
	for seq := range uint32(4) {
		id, d := s.child(c, 100+seq)
		postRefused(t, d, 1)
		s.gone(id)
	}
	routes := s.fabric.get(&s.fabric.loads)
	s.posted(s.domain(second), 1) // the control: another writer
	if n := s.fabric.get(&s.fabric.loads); n != routes+1 || routes > MaxLeft {
		t.Errorf("%d routes were loaded for children, then %d for another", routes, n-routes)
	}
	r := s.domain(server)
	r.send(receive(1, "box"))
	for read := 0; read < MaxLeft; {
		got, files := r.read()
		if got.Peer.Name == "second" || got.Seq == 1 {
			continue
		}
		hears(t, files[0], "a")
		files[0].Close()
		read++
	}
	_, d := s.child(c, 200)
	s.posted(d, 1)
}
