package creator

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"

	"ward/abi"
	"ward/image"
)

// Children that a creator before this one made are taken over, too. That they
// are children, and whose process each is, a user ID shows that only creators
// give; what each was made of, and whose it is, the monitor says, and the image
// must allow it. What none of them is, is ended.

// opSettle ends the children that a creator before this one made and nobody knows.
const opSettle op = 9

func init() { requests[opSettle] = request{do: (*creator).settle} }

// A Kinship is what a creator is told of a child that it takes over.
type Kinship struct {
	Root    abi.DomainID  // of the image: the parent of the last of Line
	Line    []image.Birth // its own birth, its parent's, and so on
	Adopted bool
	Until   uint64   // as in Order
	Counted *Counted // as for Adopt; nil: nothing is said
}

// AdoptChild makes a new creator take over a child that an earlier one made: its
// parent first, if that lives. One whose parent has ended, and that may not
// outlive it, is ended, and so is one that the image does not allow; like
// that of Adopt, its end no Exit tells.
func (c *Client) AdoptChild(ctx context.Context, k Kinship, pid int, pidfd *os.File) error {
	if len(k.Line) == 0 {
		return fmt.Errorf("adopt a child: %w", errMessage)
	}
	m := message{op: opAdopt, domain: uint32(k.Line[0].ID), arg: uint32(k.Root), pid: uint32(pid), text: k.encode()}
	if k.Counted != nil {
		k.Counted.into(&m)
	}
	_, err := c.ask(ctx, m, pidfd)
	return err
}

// Settle tells a new creator that it has been told of all children that there are.
func (c *Client) Settle(ctx context.Context) error {
	_, err := c.ask(ctx, message{op: opSettle})
	return err
}

const birthSize = 4*6 + 8

func (k *Kinship) encode() string {
	le := binary.LittleEndian
	var b []byte
	var adopted uint32
	if k.Adopted {
		adopted = 1
	}
	b = le.AppendUint32(b, adopted)
	b = le.AppendUint32(b, uint32(len(k.Line)))
	b = le.AppendUint64(b, k.Until)
	for i := range k.Line {
		n := &k.Line[i]
		for _, v := range []uint32{uint32(n.ID), uint32(n.Template), n.Ask.Processes, n.Ask.Files, n.Ask.Gates, n.Ask.CPUWeight} {
			b = le.AppendUint32(b, v)
		}
		b = le.AppendUint64(b, n.Ask.Memory)
	}
	return string(append(b, k.Line[0].Name...))
}

// decodeKinship reads what encode writes. Its forebears have no names: nothing
// depends on them.
func decodeKinship(m *message) (k Kinship, err error) {
	le := binary.LittleEndian
	b := []byte(m.text)
	if len(b) < 16 {
		return k, errMessage
	}
	adopted, n := le.Uint32(b), int(le.Uint32(b[4:]))
	k.Root, k.Adopted, k.Until, b = abi.DomainID(m.arg), adopted == 1, le.Uint64(b[8:]), b[16:]
	if adopted > 1 || n < 1 || n > image.MaxDepthOf || len(b) < n*birthSize || len(b) > n*birthSize+maxChildName {
		return k, errMessage
	}
	for range n {
		u32 := func(i int) uint32 { return le.Uint32(b[4*i:]) }
		k.Line = append(k.Line, image.Birth{ID: abi.DomainID(u32(0)), Template: abi.DomainID(u32(1)),
			Ask: image.ChildQuota{Processes: u32(2), Files: u32(3), Gates: u32(4), CPUWeight: u32(5), Memory: le.Uint64(b[24:])}})
		b = b[birthSize:]
	}
	k.Line[0].Name = string(b)
	if k.Line[0].ID != abi.DomainID(m.domain) {
		return k, errMessage
	}
	return k, nil
}

// adoptKin makes a child one of the family, and says when its time is over; nil:
// the image does not allow it.
func (c *creator) adoptKin(m *message) (*image.Kin, uint64, error) {
	k, err := decodeKinship(m)
	if err != nil {
		return nil, 0, fmt.Errorf("creator: %w: a child to be adopted", err)
	}
	kin, err := c.family.Again(k.Line, k.Root, k.Adopted)
	if err != nil {
		return nil, 0, nil
	}
	return kin, k.Until, c.family.Take(kin)
}

// settle clears up after a creator that died while it made children.
func (c *creator) settle(m message, _ []*os.File) (bool, error) {
	for i := range image.MaxChildren {
		id := image.FirstChild + abi.DomainID(i)
		if c.running[id] != nil {
			continue
		}
		if err := c.clear(id); err != nil {
			return false, c.fail(m, "child %d: %v", id, err)
		}
	}
	for id := range c.running { // of what ended meanwhile, too
		c.narrowAgain(id)
	}
	c.weighAgain()
	c.stranger = false
	return false, send(c.fd, message{op: opDone, seq: m.seq})
}

// clear ends what a creator before this one left of a child that does not run.
// Without cgroups nobody can find it.
func (c *creator) clear(id abi.DomainID) error {
	if c.tree == nil {
		return nil
	}
	return c.tree.Clear(dirName("", id))
}

// isChild reports whether a number is a child's.
func isChild(id abi.DomainID) bool {
	return id >= image.FirstChild && int(id-image.FirstChild) < image.MaxChildren
}
