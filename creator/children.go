package creator

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/image"
)

// Children: domains that are made while the system runs. The creator decides
// on them itself, by its own copy of the image and its own count: a monitor
// that is taken over makes no child of what is no template, none more trusted
// than its parent, none beyond its parent's numbers and quota. It also ends
// them: when their time is over, and when their parent has ended.

// opSpawn makes a child: domain is its number, arg the template, pid the
// parent; text is the order.
const opSpawn op = 8

func init() {
	requests[opSpawn] = request{files: 2, text: true, do: (*creator).spawnChild}
}

// An Order is what the monitor says of a child beside its parent and template.
type Order struct {
	Child, Parent, Template abi.DomainID
	Name                    string
	Quota                   image.ChildQuota
	Adopted                 bool
	Until                   uint64 // CLOCK_BOOTTIME ns at which it is ended; 0: never
}

const orderSize = 4*5 + 8 + 8

func (o *Order) encode() string {
	b := make([]byte, 0, orderSize+len(o.Name))
	var adopted uint32
	if o.Adopted {
		adopted = 1
	}
	for _, v := range []uint32{adopted, o.Quota.Processes, o.Quota.Files, o.Quota.Gates, o.Quota.CPUWeight} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	b = binary.LittleEndian.AppendUint64(b, o.Quota.Memory)
	b = binary.LittleEndian.AppendUint64(b, o.Until)
	return string(append(b, o.Name...))
}

func decodeOrder(m *message) (*Order, error) {
	b := []byte(m.text)
	if len(b) < orderSize || len(b) > orderSize+maxChildName {
		return nil, errMessage
	}
	u32 := func(i int) uint32 { return binary.LittleEndian.Uint32(b[4*i:]) }
	if u32(0) > 1 {
		return nil, errMessage
	}
	return &Order{Child: abi.DomainID(m.domain), Template: abi.DomainID(m.arg), Parent: abi.DomainID(m.pid), Name: string(b[orderSize:]), Adopted: u32(0) == 1,
		Quota: image.ChildQuota{Processes: u32(1), Files: u32(2), Gates: u32(3), CPUWeight: u32(4), Memory: binary.LittleEndian.Uint64(b[20:])},
		Until: binary.LittleEndian.Uint64(b[28:])}, nil
}

// maxChildName bounds the name of a child, in bytes.
const maxChildName = 128

// Spawn makes a child of a running domain, as Start starts a domain of the image.
func (c *Client) Spawn(ctx context.Context, o Order, control, output *os.File) (Started, error) {
	return c.started(c.ask(ctx, message{op: opSpawn, domain: uint32(o.Child), arg: uint32(o.Template), pid: uint32(o.Parent), text: o.encode()}, control, output))
}

func (c *creator) spawnChild(m message, files []*os.File) (bool, error) {
	o, err := decodeOrder(&m)
	if err != nil {
		return false, fmt.Errorf("creator: %w: an order for a child", err)
	}
	if c.running[o.Parent] == nil {
		return false, c.fail(m, "spawn %s: its parent does not run", o.Name)
	}
	now, err := bootTime()
	if err != nil {
		return false, err
	}
	if o.Until != 0 && o.Until <= now {
		return false, c.fail(m, "spawn %s: its time is over", o.Name)
	}
	if _, _, err := c.family.Add(o.Child, o.Parent, o.Template, o.Name, o.Quota, o.Adopted); err != nil {
		return false, c.fail(m, "spawn %s: %v", o.Name, err)
	}
	if room, err := c.takeRoom(m, o.Child); !room {
		return false, err
	}
	if err := c.clear(o.Child); err != nil {
		c.forget(o.Child)
		return false, c.fail(m, "spawn %s: %v", o.Name, err)
	}
	r, err := c.spawn(o.Child, files[0], files[1])
	if err != nil {
		c.forget(o.Child)
		return false, c.fail(m, "%v", err)
	}
	r.until = o.Until
	defer c.setAlarm()
	return c.tellStarted(m, r)
}

// childEnded forgets a child, and ends what ends with a domain.
func (c *creator) childEnded(id abi.DomainID) {
	c.weigh(id)
	for _, k := range c.family.Doomed(id) {
		c.kill(k.ID)
	}
	c.forget(id)
}

// kill ends a domain, with all its processes: the first of its PID namespace is killed.
func (c *creator) kill(id abi.DomainID) {
	if r := c.running[id]; r != nil {
		unix.PidfdSendSignal(int(r.process.Pidfd.Fd()), unix.SIGKILL, nil, 0)
	}
}

// endOverdue ends the children whose time is over.
func (c *creator) endOverdue() error {
	now, err := bootTime()
	if err != nil {
		return err
	}
	for id, r := range c.running {
		if r.until != 0 && r.until <= now {
			r.until = 0 // its end follows
			c.kill(id)
		}
	}
	c.setAlarm()
	return nil
}

// setAlarm wakes the loop when the next child's time is over.
func (c *creator) setAlarm() {
	c.events.alarm = 0
	for _, r := range c.running {
		if r.until != 0 && (c.events.alarm == 0 || r.until < c.events.alarm) {
			c.events.alarm = r.until
		}
	}
}

// untilAlarm is how long the loop may wait, in ms; -1: for ever.
func (e *events) untilAlarm() (int, error) {
	if e.alarm == 0 {
		return -1, nil
	}
	now, err := bootTime()
	if err != nil || e.alarm <= now {
		return 0, err
	}
	return int(min((e.alarm-now)/1e6+1, 3600_000)), nil
}

// bootTime is CLOCK_BOOTTIME, ns.
func bootTime() (uint64, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0, fmt.Errorf("creator: clock: %w", err)
	}
	return uint64(ts.Nano()), nil
}
