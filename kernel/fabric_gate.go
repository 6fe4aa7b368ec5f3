package kernel

import (
	"errors"
	"fmt"
	"os"
	"runtime"

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
//
// The kernel takes about a millisecond to verify the two stubs, and a grace period some
// 10 ms: neither passes with Fabric.mu held. A gate in the making has its numbers,
// which nobody else is given, and keeps its endpoints from being closed. Its row comes
// last, with mu held again and of what the route is then, a swap in between included.
// If the route was closed or its policy taken away meanwhile there is no gate.
func (f *Fabric) Open(r *Route) (*Gate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := &Gate{r: r}
	if err := g.open(); err != nil {
		return nil, fmt.Errorf("gate on route %d: %w", r.spec.Route, err)
	}
	return g, nil
}

var errRouteGone = errors.New("the route is closed, or its policy was taken away")

// opens reports why no gate can be opened on the route.
//
// Preconditions: Fabric.mu is held.
func (r *Route) opens() error {
	if r.closed || r.programs == [2]*loaded{} {
		return errRouteGone
	}
	return nil
}

// open is Open.
//
// Preconditions: Fabric.mu is held; it is given up in between.
func (g *Gate) open() (err error) {
	r, f := g.r, g.r.f
	if err := r.opens(); err != nil {
		return err
	}
	for _, e := range r.ends { // they are not closed meanwhile
		e.use()
		defer func() { err = errors.Join(err, e.leave()) }()
	}
	for _, n := range []struct {
		what string
		pool *pool
		to   *uint32
	}{{"rows of gates", &f.rows, &g.Index}, {"blocks of the client", &r.ends[0].blocks, &g.ClientBlock}, {"blocks of the server", &r.ends[1].blocks, &g.ServerBlock}} {
		if *n.to, err = n.pool.get(&f.mu); err != nil {
			return fmt.Errorf("%s: %w", n.what, err)
		}
		defer func() {
			if err != nil {
				n.pool.put(*n.to)
			}
		}()
	}
	if g.incarnation, err = f.incarnate(); err != nil {
		return err
	}
	spec := r.spec
	f.mu.Unlock()
	fds, err := g.sockets(spec)
	f.mu.Lock()
	if err != nil {
		return err
	}
	if err = r.opens(); err == nil {
		err = g.begin()
	}
	if err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return err
	}
	g.Client, g.Server = os.NewFile(uintptr(fds[0]), "gate client"), os.NewFile(uintptr(fds[1]), "gate server")
	r.gates[g] = true
	return nil
}

// verifying has room for as many gates as are verified at a time. A goroutine in a
// system call keeps its processor until the scheduler takes that away, which on a busy
// machine takes longer than the call: one must be left to all others of the process.
var verifying = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1))

// sockets makes the pair with its filters, and takes old verdicts off the blocks of
// the two ends. It needs no lock: the numbers are the gate's, and its maps stay open.
func (g *Gate) sockets(spec *filter.Spec) (fds [2]int, err error) {
	for i, block := range []uint32{g.ClientBlock, g.ServerBlock} {
		if err := g.r.ends[i].word(block, filter.StatusReset); err != nil {
			return fds, err
		}
	}
	if fds, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0); err != nil {
		return fds, fmt.Errorf("socket pair: %w", err)
	}
	verifying <- struct{}{}
	defer func() { <-verifying }()
	// What the client sends arrives at the server's socket, and is judged there.
	for dir, fd := range []int{fds[1], fds[0]} {
		if err := g.attach(spec, abi.Direction(dir), fd); err != nil {
			unix.Close(fds[0])
			unix.Close(fds[1])
			return fds, err
		}
	}
	return fds, nil
}

// begin makes the gate one: its call table is empty, its word of state begins as the
// route has it, and its row is written.
//
// Preconditions: Fabric.mu is held.
func (g *Gate) begin() error {
	f := g.r.f
	if err := f.calls.Put(g.Index, make([]byte, callsRow)); err != nil {
		return fmt.Errorf("call table: %w", err)
	}
	if err := f.gateWords.words.Put(g.Index, g.r.spec.State); err != nil {
		return fmt.Errorf("word of state: %w", err)
	}
	return g.record(g.r.slots)
}

// attach puts the stub of one direction on the socket that receives, and locks it.
func (g *Gate) attach(spec *filter.Spec, dir abi.Direction, fd int) error {
	stub, err := g.stub(spec, dir)
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
func (g *Gate) stub(spec *filter.Spec, dir abi.Direction) (*ebpf.Program, error) {
	f := g.r.f
	sender := g.r.ends[dir]
	from, to := spec.Client, spec.Server
	if dir == abi.Reply {
		from, to = to, from
	}
	consts := map[int]uint64{filter.ConstDir: uint64(dir), filter.ConstFrom: uint64(from), filter.ConstTo: uint64(to),
		filter.ConstRoute: uint64(spec.Route), filter.ConstIndex: uint64(g.Index), filter.ConstIncarnation: uint64(g.incarnation)}
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
