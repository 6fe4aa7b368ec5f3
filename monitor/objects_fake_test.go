package monitor

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/image"
)

// A fakeHandle is a row of the kernel's table of handles.
type fakeHandle struct {
	HandleOffer
	gate  uint32
	state HandleState
}

// maxFakeHandles is how many rows there are.
const maxFakeHandles = 150

func (g *fakeGate) Offer(o HandleOffer) (uint64, error) {
	g.f.mu.Lock()
	defer g.f.mu.Unlock()
	if len(g.f.handles) >= maxFakeHandles {
		return 0, fmt.Errorf("%w: %d", ErrNoHandles, maxFakeHandles)
	}
	if g.f.handles == nil {
		g.f.handles = map[uint64]*fakeHandle{}
	}
	for id := abi.HandleID(3, 1); ; id += 1 << 16 {
		if g.f.handles[id] == nil {
			g.f.handles[id] = &fakeHandle{o, g.index, HandleOffered}
			return id, nil
		}
	}
}

func (f *fakeFabric) Handle(id uint64) (HandleState, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if h := f.handles[id]; h != nil {
		return h.state, nil
	}
	return HandleGone, nil
}

func (f *fakeFabric) TakeHandle(id uint64) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if h := f.handles[id]; h == nil || h.state != HandleAdmitted {
		return false, nil
	}
	delete(f.handles, id)
	return true, nil
}

func (f *fakeFabric) ForgetHandle(id uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.handles, id)
	return nil
}

// admit is what a filter does when a message with the handle passes.
func (f *fakeFabric) admit(id uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handles[id].state = HandleAdmitted
}

// fakeMemories makes memory that its maker owns.
type fakeMemories struct {
	mu   sync.Mutex
	fail error           // of Open
	kept map[uint64]bool // inodes of what somebody has mapped, whatever is open
	deaf error           // of InUse
	hold chan struct{}

	none error // of Secrets and MakeSecret
}

func (*fakeMemories) Make(name string, size uint64, fixed bool) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, err
	}
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (m *fakeMemories) Open(f *os.File, write bool) (*os.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return nil, m.fail
	}
	flags := os.O_RDONLY
	if write {
		flags = os.O_RDWR
	}
	return os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), flags, 0)
}

// Seal waits for hold, if there is one.
func (m *fakeMemories) Seal(f *os.File) error {
	m.mu.Lock()
	hold := m.hold
	m.mu.Unlock()
	if hold != nil {
		<-hold
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); err != nil {
		return errors.New("unmap it first")
	}
	return nil
}

func (*fakeMemories) Sealed(f *os.File) (bool, error) {
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	return seals&unix.F_SEAL_WRITE != 0, err
}

// InUse says what the test has told: descriptors of it are open for as long as it
// takes the collector to find them.
func (m *fakeMemories) InUse(f *os.File) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.kept[inodeOf(f)], m.deaf
}

// keeps says that somebody has what is open as f, or that nobody has.
func (m *fakeMemories) keeps(f *os.File, kept bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept == nil {
		m.kept = map[uint64]bool{}
	}
	m.kept[inodeOf(f)] = kept
}

func inodeOf(f *os.File) uint64 {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		panic(err)
	}
	return st.Ino
}

// Objects of the test system: client may make frames, three at a time; server
// may read and write them, second is forbidden to. board is shared: server may
// write it, client read it.
const (
	frames uint32 = iota
	board
)

func withObjects(img *image.Image) {
	yes, no, none := image.Verdict{Allow: true, Policy: 0}, image.Verdict{Policy: 1}, image.Verdict{Policy: abi.NoPolicy}
	verdicts := func(v ...image.Verdict) []image.Verdict {
		all := slices.Repeat([]image.Verdict{none}, len(img.Domains))
		copy(all, v)
		return all
	}
	img.Objects = append(img.Objects,
		image.Object{Name: "frames", Kind: image.ObjectMemory, Size: 1 << 16, Count: 3, Domain: abi.NoDomain,
			Create: verdicts(yes), Read: verdicts(none, yes, no), Write: verdicts(none, yes, no)},
		image.Object{Name: "board", Kind: image.ObjectMemory, Size: 1 << 12, Count: 1, Shared: true, Domain: abi.NoDomain,
			Create: verdicts(), Read: verdicts(yes, yes), Write: verdicts(none, yes)})
}

// memorySystem is a system with the objects.
func memorySystem(t *testing.T, change func(*Config)) *system {
	t.Helper()
	return startSystem(t, func(c *Config) {
		withObjects(c.Image)
		c.Memories = &fakeMemories{}
		if change != nil {
			change(c)
		}
	})
}

// joined opens a gate between client and server, and returns their blocks.
func (s *system) joined(c, srv *fakeDomain) (clientBlock, serverBlock uint32) {
	s.t.Helper()
	if got, _ := srv.ask(serve(7001, "t.Echo")); got.Op != abi.OpOK {
		s.t.Fatalf("serve: %+v", got)
	}
	return s.again(c, srv)
}

// again opens one more.
func (s *system) again(c, srv *fakeDomain) (clientBlock, serverBlock uint32) {
	s.t.Helper()
	got, _ := c.ask(open(7002, "t.Echo"))
	other, _ := srv.read()
	if got.Op != abi.OpGate || other.Op != abi.OpGate {
		s.t.Fatalf("no gate: %+v, %+v", got, other)
	}
	return got.Block, other.Block
}

const (
	readOnly  = abi.AccessRead
	readWrite = abi.AccessRead | abi.AccessWrite
)

func makes(seq uint32, size uint64) abi.Control {
	return abi.Control{Op: abi.OpMake, Seq: seq, Name: "frames", Size: size}
}

func openBoard(seq uint32, access uint8) abi.Control {
	return abi.Control{Op: abi.OpOpenObject, Seq: seq, Name: "board", Access: access}
}

func offer(seq uint32, ref uint64, block uint32, access uint8) abi.Control {
	return abi.Control{Op: abi.OpOffer, Seq: seq, Handle: ref, Block: block, Access: access}
}

func redeem(seq uint32, id uint64, block uint32) abi.Control {
	return abi.Control{Op: abi.OpRedeem, Seq: seq, Handle: id, Block: block}
}

func drop(seq uint32, ref uint64) abi.Control {
	return abi.Control{Op: abi.OpDrop, Seq: seq, Handle: ref}
}

func retract(seq uint32, id uint64, block uint32) abi.Control {
	return abi.Control{Op: abi.OpRetract, Seq: seq, Handle: id, Block: block}
}

// gets asks for an instance, and checks what comes.
func (d *fakeDomain) gets(c abi.Control, access uint8, size uint64) (uint64, *os.File) {
	d.t.Helper()
	got, files := d.ask(c)
	d.isObject(&got, files, access, size)
	return got.Handle, files[0]
}

func (d *fakeDomain) isObject(got *abi.Control, files []*os.File, access uint8, size uint64) {
	d.t.Helper()
	if got.Op != abi.OpObject || len(files) != 1 || got.Handle == 0 || got.Access != access || got.Size != size {
		d.t.Fatalf("an object: %+v with %d descriptors", got, len(files))
	}
	var st unix.Stat_t
	flags, err := unix.FcntlInt(files[0].Fd(), unix.F_GETFL, 0)
	if err != nil || unix.Fstat(int(files[0].Fd()), &st) != nil || uint64(st.Size) != size || (flags&unix.O_ACCMODE == unix.O_RDWR) != (access == readWrite) {
		d.t.Fatalf("its memory: %d bytes, flags %#x, %v", st.Size, flags, err)
	}
}

// offers makes an offer.
func (d *fakeDomain) offers(c abi.Control) uint64 {
	d.t.Helper()
	got, files := d.ask(c)
	if got.Op != abi.OpOK || got.Handle == 0 || len(files) != 0 {
		d.t.Fatalf("an offer: %+v", got)
	}
	return got.Handle
}

// refused asks for what is refused.
func (d *fakeDomain) refused(c abi.Control, reason abi.Reason) string {
	d.t.Helper()
	got, files := d.ask(c)
	if got.Op != abi.OpRefused || got.Reason != reason || len(files) != 0 || got.Text == "" {
		d.t.Errorf("op %d: %+v; want %v", c.Op, got, reason)
	}
	return got.Text
}

// ok asks for what is done.
func (d *fakeDomain) ok(c abi.Control) {
	d.t.Helper()
	if got, _ := d.ask(c); got.Op != abi.OpOK {
		d.t.Errorf("op %d: %+v", c.Op, got)
	}
}

// instances is how many there are, and whether what is open is what is booked.
func (s *system) instances() int {
	s.t.Helper()
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if err := s.m.book.Check(); err != nil {
		s.t.Error(err)
	}
	if len(s.m.book.memory) != len(s.m.book.Instances()) {
		s.t.Errorf("memory of %d instances, of which there are %d", len(s.m.book.memory), len(s.m.book.Instances()))
	}
	return len(s.m.book.memory)
}

// rows is how many rows of the kernel's table are in use.
func (f *fakeFabric) rows() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.handles)
}
