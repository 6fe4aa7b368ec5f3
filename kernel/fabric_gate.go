package kernel

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/filter"
)

// A Gate is a channel between the two endpoints of a route: a SOCK_SEQPACKET
// pair with a locked filter on each end. The caller hands Client and Server
// over and closes them; Index is the gate's number in audit records.
type Gate struct {
	Index                    uint32
	Client, Server           *os.File
	ClientBlock, ServerBlock uint32 // on the verdict pages of the two

	r           *Route
	incarnation uint32
	closed      bool
	revoked     bool
}

// soPassRights is SO_PASSRIGHTS, Linux 6.16. Source: include/uapi/asm-generic/socket.h.
const soPassRights = 83

// Open makes a gate. Its sockets carry the network namespace of the caller,
// which should be an empty one. Nothing can be sent before both filters are locked.
func (f *Fabric) Open(r *Route) (*Gate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.closed || r.programs == [2]*loaded{} {
		return nil, fmt.Errorf("gate: route %d is closed, or its policy was taken away", r.spec.Route)
	}
	g := &Gate{r: r}
	if err := g.open(); err != nil {
		return nil, fmt.Errorf("gate on route %d: %w", r.spec.Route, err)
	}
	r.gates[g] = true
	return g, nil
}

func (g *Gate) open() (err error) {
	r, f := g.r, g.r.f
	if g.Index, err = f.rows.get(); err != nil {
		return fmt.Errorf("rows of gates: %w", err)
	}
	defer func() {
		if err != nil {
			f.rows.put(g.Index)
		}
	}()
	if g.ClientBlock, err = r.ends[0].takeBlock(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			r.ends[0].blocks.put(g.ClientBlock)
		}
	}()
	if g.ServerBlock, err = r.ends[1].takeBlock(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			r.ends[1].blocks.put(g.ServerBlock)
		}
	}()
	if g.incarnation, err = f.incarnate(); err != nil {
		return err
	}
	if err = f.calls.Put(g.Index, make([]byte, callsRow)); err != nil {
		return fmt.Errorf("call table: %w", err)
	}
	if err = f.gateWords.words.Put(g.Index, r.spec.State); err != nil {
		return fmt.Errorf("word of state: %w", err)
	}
	if err = g.record(r.slots); err != nil {
		return err
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket pair: %w", err)
	}
	// What the client sends arrives at the server's socket, and is judged there.
	for dir, fd := range []int{fds[1], fds[0]} {
		if err = g.attach(abi.Direction(dir), fd); err != nil {
			unix.Close(fds[0])
			unix.Close(fds[1])
			return err
		}
	}
	g.Client, g.Server = os.NewFile(uintptr(fds[0]), "gate client"), os.NewFile(uintptr(fds[1]), "gate server")
	return nil
}

// attach puts the stub of one direction on the socket that receives, and locks it.
func (g *Gate) attach(dir abi.Direction, fd int) error {
	stub, err := g.stub(dir)
	if err != nil {
		return err
	}
	defer stub.Close() // the socket holds it
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, stub.FD()); err != nil {
		return fmt.Errorf("attach the filter: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1); err != nil {
		return fmt.Errorf("lock the filter: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, soPassRights, 0); err != nil && !errors.Is(err, unix.ENOPROTOOPT) {
		return fmt.Errorf("refuse descriptors: %w", err)
	}
	return nil
}

// stub loads the stub of one direction.
func (g *Gate) stub(dir abi.Direction) (*ebpf.Program, error) {
	r, f := g.r, g.r.f
	sender := r.ends[dir]
	from, to := r.spec.Client, r.spec.Server
	if dir == abi.Reply {
		from, to = to, from
	}
	consts := map[int]uint64{filter.ConstDir: uint64(dir), filter.ConstFrom: uint64(from), filter.ConstTo: uint64(to),
		filter.ConstRoute: uint64(r.spec.Route), filter.ConstIndex: uint64(g.Index), filter.ConstIncarnation: uint64(g.incarnation)}
	if f.cgroups {
		consts[filter.ConstCgroup] = 1
	}
	return f.object.load("stub", consts, nil, map[string]*ebpf.Map{"gates": f.gates, "programs": f.programs,
		"page": sender.page, "ring": sender.ring, "counters": sender.counters})
}

// record writes the gate's row.
func (g *Gate) record(progs [2]uint32) error {
	r := g.r
	row := gateBytes(progs, [2]uint64{r.ends[0].cgroup, r.ends[1].cgroup}, [2]uint32{g.ClientBlock, g.ServerBlock}, g.incarnation, r.spec)
	if err := r.f.gates.Put(g.Index, row); err != nil {
		return fmt.Errorf("row of gate %d: %w", g.Index, err)
	}
	return nil
}

// bump changes the status words of both ends.
func (g *Gate) bump(op uint32) error {
	return errors.Join(g.r.ends[0].word(g.ClientBlock, op), g.r.ends[1].word(g.ServerBlock, op))
}

// Revoke ends the gate: no message passes any more, and both ends see it in
// their status words. What was queued before stays in the receiver's socket;
// Ward's library throws it away. Its handles end with it, also those that were
// admitted.
func (g *Gate) Revoke() error {
	g.r.f.mu.Lock()
	defer g.r.f.mu.Unlock()
	if g.closed {
		return nil
	}
	return g.revoke()
}

func (g *Gate) revoke() error {
	if g.revoked {
		return nil
	}
	g.revoked = true
	return errors.Join(g.record([2]uint32{noProgram, noProgram}), g.bump(filter.StatusRevoke), g.r.f.handles.release(g.incarnation))
}

// Close revokes the gate and frees its index, call table and blocks. It does
// not close Client and Server.
func (g *Gate) Close() error {
	g.r.f.mu.Lock()
	defer g.r.f.mu.Unlock()
	return g.close()
}

func (g *Gate) close() error {
	if g.closed {
		return nil
	}
	g.closed = true
	err := g.revoke()
	f := g.r.f
	// Incarnation 0 matches no stub: whoever still holds an end is told nothing but by the record.
	// The blocks stay: a filter that is about to write its verdict must not write it on another gate's.
	err = errors.Join(err, f.gates.Put(g.Index, gateBytes([2]uint32{noProgram, noProgram}, [2]uint64{}, [2]uint32{g.ClientBlock, g.ServerBlock}, 0, g.r.spec)))
	f.rows.put(g.Index)
	g.r.ends[0].blocks.put(g.ClientBlock)
	g.r.ends[1].blocks.put(g.ServerBlock)
	delete(g.r.gates, g)
	return err
}
