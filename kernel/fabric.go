package kernel

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/filter"
	"ward/image"
)

// FabricConfig bounds a fabric.
type FabricConfig struct {
	Gates    uint32 // gates that are open at the same time; 512 bytes of kernel memory each
	Programs uint32 // programs that are loaded at the same time: two for each route
	Words    uint32 // words of state of domains and of the system, with room for those that a reload may add: their number stays; 8 bytes each
	Buckets  uint32 // of rates, for all senders; 8 bytes each. If there are too few, Load fails
	// KinBuckets is how many of these children and delegations may have together; 0: all.
	// If that is too few, Load fails with ErrKinBuckets.
	KinBuckets uint32
	Handles    uint32 // in messages, at the same time, at most abi.MaxHandles; 16 bytes each. 0: none, and no message with one passes
	AuditAll   bool   // record every admitted message, too
	// Reserve is told of a number that no gate reaches before it is called again
	// (RestoreFabric); nil: nobody takes this fabric over.
	Reserve func(incarnation uint32) error `json:"-"`
}

// A Fabric is the kernel side of one running system: the maps and programs
// that judge every message on its gates.
//
// Locking: mu guards everything but the tables, which have a lock of their own
// (tableCache); an Endpoint's, Route's or Gate's methods take it. Load and Open verify
// programs without it: object, cfg and the maps do not change. Nobody waits for a
// grace period with it, but to end a handle that is in a message being judged.
type Fabric struct {
	mu        sync.Mutex
	cfg       FabricConfig
	before    func() error // of a restored one: waits until no filter runs that ran before it was
	programs  *ebpf.Map
	gates     *ebpf.Map
	calls     *ebpf.Map
	utf8      *ebpf.Map
	words     stateMap // of domains and of the system
	gateWords stateMap // by gate, as calls
	buckets   *bucketTable
	handles   handleTable
	object    *object
	tables    *tableCache
	shared    *programCache
	slots     pool // of programs
	rows      pool // of gates and calls
	// incarnation is that of the last gate. A stub whose gate is gone does not match the row's next one.
	incarnation uint32
	reserved    uint32 // Reserve was told of it
	files       []*os.File
	cgroups     bool // socket filters may ask for the sender's cgroup
	closed      bool
}

// Sizes of rows, bytes: the structs of filter/bpf/ward.h.
const (
	gateRow     = 48
	callsRow    = abi.Slots * 8
	countersRow = 32
)

// noProgram is a slot beyond the program array: the tail call falls through.
const noProgram = 0xffffffff

// NewFabric makes the maps of a system. It needs CAP_BPF and CAP_NET_ADMIN,
// or root. An error of type *UnsupportedError names what the kernel lacks.
func NewFabric(cfg FabricConfig) (*Fabric, error) {
	if cfg.Gates == 0 || cfg.Gates > 1<<20 {
		return nil, fmt.Errorf("fabric: %d gates, want 1 to %d", cfg.Gates, 1<<20)
	}
	if cfg.Programs < 2 || cfg.Programs > 1<<20 {
		return nil, fmt.Errorf("fabric: %d programs, want 2 to %d", cfg.Programs, 1<<20)
	}
	if cfg.Words > image.MaxWords || cfg.Buckets > 1<<20 {
		return nil, fmt.Errorf("fabric: %d words of state and %d buckets, want at most %d and %d", cfg.Words, cfg.Buckets, image.MaxWords, 1<<20)
	}
	if cfg.Handles > abi.MaxHandles {
		return nil, fmt.Errorf("fabric: %d handles, want at most %d", cfg.Handles, abi.MaxHandles)
	}
	obj, err := loadObject()
	if err != nil {
		return nil, err
	}
	f := &Fabric{cfg: cfg, object: obj, slots: newPool(cfg.Programs), rows: newPool(cfg.Gates)}
	f.tables, f.shared, f.buckets = &tableCache{}, &programCache{}, &bucketTable{}
	if f.cgroups, err = senderCgroups(); err != nil {
		return nil, err
	}
	for _, m := range []struct {
		to   **ebpf.Map
		spec ebpf.MapSpec
	}{
		{&f.programs, ebpf.MapSpec{Name: "programs", Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: cfg.Programs}},
		{&f.gates, ebpf.MapSpec{Name: "gates", Type: ebpf.Array, KeySize: 4, ValueSize: gateRow, MaxEntries: cfg.Gates}},
		{&f.calls, ebpf.MapSpec{Name: "calls", Type: ebpf.Array, KeySize: 4, ValueSize: callsRow, MaxEntries: cfg.Gates}},
	} {
		if *m.to, err = ebpf.NewMap(&m.spec); err != nil {
			f.Close()
			return nil, fmt.Errorf("fabric: map %s: %w", m.spec.Name, err)
		}
	}
	f.utf8, err = newUTF8Map()
	if err == nil {
		err = f.words.open("words", cfg.Words, 8, obj)
	}
	if err == nil {
		err = f.gateWords.open("gatewords", cfg.Gates, 8, obj)
	}
	if err == nil {
		err = f.buckets.open(cfg.Buckets, cfg.KinBuckets)
	}
	if err == nil {
		err = f.handles.open(cfg.Handles, obj)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("fabric: %w", err)
	}
	for _, m := range f.maps() {
		file, err := dupMap(*m)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("fabric: %w", err)
		}
		f.files = append(f.files, file)
	}
	return f, nil
}

// senderCgroups reports whether socket filters may ask for the sender's cgroup.
func senderCgroups() (bool, error) {
	err := haveSenderCgroup()
	if err != nil && !errors.Is(err, ErrUnsupported) {
		return false, fmt.Errorf("fabric: %w", err)
	}
	return err == nil, nil
}

// newUTF8Map makes the table by which programs check texts. It never changes.
func newUTF8Map() (*ebpf.Map, error) {
	return ebpf.NewMap(&ebpf.MapSpec{Name: "utf8", Type: ebpf.Array, KeySize: 4, ValueSize: filter.UTF8Size, MaxEntries: 1,
		Flags: unix.BPF_F_RDONLY_PROG, Contents: []ebpf.MapKV{{Key: uint32(0), Value: filter.UTF8Table()}}})
}

// Slots is how many programs may be loaded at the same time.
func (f *Fabric) Slots() int { return int(f.cfg.Programs) }

// Files is what a process must keep open so that the gates live on when the
// others of the system are gone: a program array is emptied when its last
// descriptor goes. They stay the fabric's: pass them on, but do not close them.
func (f *Fabric) Files() []*os.File { return f.files }

// Close gives the maps up. Gates whose maps no other process holds drop
// every message from then on.
func (f *Fabric) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	f.tables.close()
	for _, file := range f.files {
		file.Close()
	}
	return errors.Join(closeMap(f.programs), closeMap(f.gates), closeMap(f.calls), closeMap(f.utf8),
		f.words.close(), f.gateWords.close(), closeMap(f.buckets.m), f.handles.close())
}

// maps are those whose files are Files, in this order. The map of handles is there only if there may be any.
func (f *Fabric) maps() []**ebpf.Map {
	maps := []**ebpf.Map{&f.programs, &f.gates, &f.calls, &f.words.words, &f.gateWords.words, &f.buckets.m}
	if f.cfg.Handles > 0 {
		maps = append(maps, &f.handles.words)
	}
	return maps
}

func closeMap(m *ebpf.Map) error {
	if m == nil {
		return nil
	}
	return m.Close()
}

// dupMap returns a file for a map, with a descriptor of its own.
func dupMap(m *ebpf.Map) (*os.File, error) {
	fd, err := unix.FcntlInt(uintptr(m.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate the descriptor of a map: %w", err)
	}
	return os.NewFile(uintptr(fd), m.String()), nil
}
