package kernel

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/filter"
	"ward/image"
)

// A Classic is what a Fabric is for a system that an ordinary user starts. The
// filters on its gates are classic BPF programs, which anybody may put on a
// socket of his own, and which nobody, root included, takes off once they are
// locked. They check the header of a message, its method and its size. What they
// cannot check, the receiver's library does (gate.Check): it gets the policy of
// its gates beside them, sealed.
//
// There is nothing that the kernel remembers: no call table, no state, no rate,
// no verdict and no record. The page of an endpoint is a sealed memfd, which only
// its maker can write, by the mapping that he has had since before it was
// sealed.
type Classic struct {
	auditAll bool

	mu   sync.Mutex
	rows pool
}

// NewClassic makes a fabric of at most so many gates at a time. auditAll: what
// is admitted is reported, too.
func NewClassic(gates uint32, auditAll bool) *Classic {
	return &Classic{auditAll: auditAll, rows: newPool(gates)}
}

// A ClassicEndpoint is a domain as its gates see it.
type ClassicEndpoint struct {
	f       *Classic
	id      abi.DomainID
	page    *os.File
	words   words
	blocks  pool
	ring    *os.File // from which the audit writer reads
	reports *os.File // to which the domain's library writes
	routes  int
}

// pageSeals: nobody but who has mapped it for writing changes the page, in
// content or size (F_SEAL_FUTURE_WRITE, Linux 5.1).
const pageSeals = unix.F_SEAL_FUTURE_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

// AddEndpoint makes the page of a domain, with room for so many gate ends, and
// the way of its library's records.
func (f *Classic) AddEndpoint(id abi.DomainID, blocks uint32) (_ *ClassicEndpoint, err error) {
	if blocks == 0 || blocks > 1<<16 {
		return nil, fmt.Errorf("endpoint of domain %d: %d blocks, want 1 to %d", id, blocks, 1<<16)
	}
	e := &ClassicEndpoint{f: f, id: id, blocks: newPool(blocks)}
	defer func() {
		if err != nil {
			err = fmt.Errorf("endpoint of domain %d: %w", id, err)
			e.release()
		}
	}()
	fd, err := unix.MemfdCreate("ward verdict page", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	e.page = os.NewFile(uintptr(fd), "page")
	size := int(blocks) * abi.PageBlock * 8
	size = (size + os.Getpagesize() - 1) &^ (os.Getpagesize() - 1)
	if err = unix.Ftruncate(fd, int64(size)); err != nil {
		return nil, fmt.Errorf("size of the page: %w", err)
	}
	if e.words, err = mapWords(fd, size); err != nil {
		return nil, err
	}
	if _, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, pageSeals); err != nil {
		return nil, fmt.Errorf("seal the page: %w", err)
	}
	if e.ring, e.reports, err = newReports(id, fd); err != nil {
		return nil, err
	}
	return e, nil
}

// Page is the page, for the domain to map for reading. It stays the endpoint's,
// like the files of Ring and Reports.
func (e *ClassicEndpoint) Page() *os.File { return e.page }

// Ring is for OpenReports in the process that writes the audit.
func (e *ClassicEndpoint) Ring() *os.File { return e.ring }

// Reports is for the domain's library.
func (e *ClassicEndpoint) Reports() *os.File { return e.reports }

// Counters are zero: nobody counts in the kernel.
func (e *ClassicEndpoint) Counters() (Counters, error) { return Counters{}, nil }

// Close gives up what the endpoint holds. Its routes must be closed before.
func (e *ClassicEndpoint) Close() error {
	e.f.mu.Lock()
	defer e.f.mu.Unlock()
	if e.routes > 0 {
		return fmt.Errorf("endpoint of domain %d: %d of its routes are still loaded", e.id, e.routes)
	}
	return e.release()
}

func (e *ClassicEndpoint) release() error {
	for _, f := range []*os.File{e.page, e.ring, e.reports} {
		if f != nil {
			f.Close()
		}
	}
	return e.words.unmap()
}

// A ClassicRoute is what the gates of a route get.
type ClassicRoute struct {
	f      *Classic
	route  uint32
	ends   [2]*ClassicEndpoint // client, server
	filter [2][]unix.SockFilter
	check  *os.File // what both libraries check, sealed
	terse  []bool
	gates  int
	closed bool
}

// Load makes the filters of a route between two endpoints, and what their
// libraries check. A route whose policies look at or change what the kernel
// would have to remember is refused.
func (f *Classic) Load(img *image.Image, route uint32, client, server *ClassicEndpoint) (*ClassicRoute, error) {
	if list := img.Unprivileged(); len(list) > 0 {
		return nil, fmt.Errorf("route %d: %w", route, &list[0])
	}
	spec, err := filter.Build(img, route, filter.Atoms{User: -1})
	if err != nil {
		return nil, err
	}
	r := &ClassicRoute{f: f, route: route, ends: [2]*ClassicEndpoint{client, server}, terse: spec.Programs[abi.Reply].Terse}
	var looks [2]image.Looks
	for dir := range looks {
		program, err := filter.Classic(img, route, abi.Direction(dir))
		if err != nil {
			return nil, err
		}
		raw, err := bpf.Assemble(program)
		if err != nil {
			return nil, fmt.Errorf("route %d: %w", route, err)
		}
		for _, i := range raw {
			r.filter[dir] = append(r.filter[dir], unix.SockFilter{Code: i.Op, Jt: i.Jt, Jf: i.Jf, K: i.K})
		}
		for _, params := range spec.Programs[dir].Params {
			var list []image.Look
			for _, p := range params {
				list = append(list, image.Look{Path: p.Path, Count: p.Count, Text: p.Text})
			}
			looks[dir] = append(looks[dir], list)
		}
	}
	part := img.Part(route)
	if f.auditAll {
		part.AuditAll()
	}
	if r.check, err = sealedMemory("ward policy of a gate", image.EncodeCheck(part, looks)); err != nil {
		return nil, fmt.Errorf("route %d: %w", route, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	client.routes++
	server.routes++
	return r, nil
}

// Terse reports whether errors of a method carry their code only.
func (r *ClassicRoute) Terse(method int) bool { return method < len(r.terse) && r.terse[method] }

// Close gives up the route. Its gates must be closed before.
func (r *ClassicRoute) Close() error {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	if r.gates > 0 {
		return fmt.Errorf("route %d: %d of its gates are still open", r.route, r.gates)
	}
	if r.closed {
		return nil
	}
	r.closed = true
	r.ends[0].routes--
	r.ends[1].routes--
	return r.check.Close()
}

// A ClassicGate is a SOCK_SEQPACKET pair with a locked classic filter on each
// end. The caller hands Client and Server over and closes them.
type ClassicGate struct {
	Index                    uint32
	Client, Server           *os.File
	ClientBlock, ServerBlock uint32

	r      *ClassicRoute
	closed bool
}

// Open makes a gate. Its sockets carry the network namespace of the caller.
func (f *Classic) Open(r *ClassicRoute) (_ *ClassicGate, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.closed {
		return nil, fmt.Errorf("gate: route %d is closed", r.route)
	}
	g := &ClassicGate{r: r}
	if g.Index, err = f.rows.get(&f.mu); err != nil {
		return nil, fmt.Errorf("gate on route %d: %w", r.route, err)
	}
	taken := []func(){func() { f.rows.put(g.Index) }}
	defer func() {
		if err != nil {
			err = fmt.Errorf("gate on route %d: %w", r.route, err)
			for _, give := range taken {
				give()
			}
		}
	}()
	for i, block := range []*uint32{&g.ClientBlock, &g.ServerBlock} {
		e := r.ends[i]
		if *block, err = e.blocks.get(&f.mu); err != nil {
			return nil, err
		}
		n := *block
		taken = append(taken, func() { e.blocks.put(n) })
	}
	if r.closed { // meanwhile: numbers may be waited for without the lock
		return nil, errors.New("it is closed")
	}
	for i, n := range []uint32{g.ClientBlock, g.ServerBlock} {
		e := r.ends[i]
		e.words.store(n, abi.PageGate, uint64(g.Index)|uint64(r.route)<<32)
		e.words.store(n, abi.PageEnds, uint64(r.ends[0].id)|uint64(r.ends[1].id)<<32)
		e.words.store(n, 0, (e.words.load(n, 0)+1)&^abi.PageRevoked)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket pair: %w", err)
	}
	// What the client sends arrives at the server's socket, and is judged there.
	for dir, fd := range []int{fds[1], fds[0]} {
		if err = attachClassic(fd, r.filter[dir]); err != nil {
			unix.Close(fds[0])
			unix.Close(fds[1])
			return nil, err
		}
	}
	g.Client, g.Server = os.NewFile(uintptr(fds[0]), "gate client"), os.NewFile(uintptr(fds[1]), "gate server")
	r.gates++
	return g, nil
}

// attachClassic puts a program on a socket, for good.
func attachClassic(fd int, program []unix.SockFilter) error {
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		return fmt.Errorf("attach the classic filter: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1); err != nil {
		return fmt.Errorf("lock the filter: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, soPassRights, 0); err != nil && !errors.Is(err, unix.ENOPROTOOPT) {
		return fmt.Errorf("refuse descriptors: %w", err)
	}
	return nil
}

// Check is what both libraries check, sealed. It stays the route's.
func (g *ClassicGate) Check() *os.File { return g.r.check }

// Revoke tells the libraries at both ends that the gate is no longer one. What
// they then receive they drop. A locked filter cannot be changed: the kernel
// still delivers.
func (g *ClassicGate) Revoke() error {
	g.r.f.mu.Lock()
	defer g.r.f.mu.Unlock()
	if !g.closed {
		g.revoke()
	}
	return nil
}

func (g *ClassicGate) revoke() {
	for i, block := range []uint32{g.ClientBlock, g.ServerBlock} {
		w := &g.r.ends[i].words
		w.store(block, 0, w.load(block, 0)|abi.PageRevoked)
	}
}

// Close revokes the gate and frees its place.
func (g *ClassicGate) Close() error {
	g.r.f.mu.Lock()
	defer g.r.f.mu.Unlock()
	if g.closed {
		return nil
	}
	g.revoke()
	g.closed = true
	g.r.gates--
	g.r.ends[0].blocks.put(g.ClientBlock)
	g.r.ends[1].blocks.put(g.ServerBlock)
	g.r.f.rows.put(g.Index)
	return nil
}

// sealedMemory makes a memory file that nobody changes.
func sealedMemory(name string, b []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	m := os.NewFile(uintptr(fd), name)
	if _, err = m.Write(b); err == nil {
		_, err = unix.FcntlInt(m.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err != nil {
		m.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
}
