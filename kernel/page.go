package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"sync"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/filter"
)

// An Endpoint is one domain, or one client outside Ward, as the filters see
// it: the page that its verdicts are written to, the ring that gets the
// records of what it sends, and its counters.
type Endpoint struct {
	f            *Fabric
	id           abi.DomainID
	cgroup       uint64
	sender       string // whose buckets of rates it uses; empty: not known
	page         *ebpf.Map
	ring         *ebpf.Map
	counters     *ebpf.Map
	pageFile     *os.File
	ringFile     *os.File
	countersFile *os.File
	statusMu     sync.Mutex    // taken after Fabric.mu or without it
	status       *ebpf.Program // loaded when it is first needed; guarded by statusMu
	blocks       pool
	routes       int  // that are loaded, and what is made or verified with its maps
	closing      bool // when the last of them goes
}

// Counters is what became of the messages that an endpoint sent.
type Counters struct {
	Records uint64 // written or lost
	Lost    uint64 // records that found its ring full
	Allowed uint64
	Denied  uint64
}

// AddEndpoint makes the page, ring and counters of a domain. A sender outside
// cgroup, a cgroup v2 ID, is denied on its gates; 0 leaves this unchecked, and
// so does a kernel whose socket filters do not know the sender's cgroup (see
// SenderChecked). blocks is the number of gate ends that it may hold; ringBytes
// is rounded up to a power of two of whole pages.
//
// Rates count what the domain sends over all its endpoints, one after the other
// or at the same time. For a user outside Ward: AddUser.
func (f *Fabric) AddEndpoint(id abi.DomainID, cgroup uint64, blocks uint32, ringBytes int) (*Endpoint, error) {
	sender := ""
	if id != abi.NoDomain {
		sender = filter.Sender(id)
	}
	return f.addEndpoint(id, sender, cgroup, blocks, ringBytes)
}

// Bind says in which cgroup the domain is, of an endpoint that was made before its
// process. Gates that are open stay bound as they were.
func (e *Endpoint) Bind(cgroup uint64) {
	e.f.mu.Lock()
	defer e.f.mu.Unlock()
	e.cgroup = cgroup
}

// AddUser makes the page, ring and counters of one connection of a user outside
// Ward, as AddEndpoint does. Rates count what the user sends over all of its connections.
func (f *Fabric) AddUser(uid uint32, blocks uint32, ringBytes int) (*Endpoint, error) {
	return f.addEndpoint(abi.NoDomain, fmt.Sprintf("user %d", uid), 0, blocks, ringBytes)
}

func (f *Fabric) addEndpoint(id abi.DomainID, sender string, cgroup uint64, blocks uint32, ringBytes int) (*Endpoint, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if blocks == 0 || blocks > 1<<16 {
		return nil, fmt.Errorf("endpoint of domain %d: %d blocks, want 1 to %d", id, blocks, 1<<16)
	}
	if ringBytes <= 0 || ringBytes > 1<<30 {
		return nil, fmt.Errorf("endpoint of domain %d: a ring of %d bytes, want 1 to %d", id, ringBytes, 1<<30)
	}
	ringSize := uint32(max(ringBytes, os.Getpagesize()))
	if bits.OnesCount32(ringSize) != 1 {
		ringSize = 1 << bits.Len32(ringSize)
	}
	e := &Endpoint{f: f, id: id, cgroup: cgroup, sender: sender, blocks: newPool(blocks)}
	var err error
	for _, m := range []struct {
		to   **ebpf.Map
		spec ebpf.MapSpec
	}{
		{&e.page, ebpf.MapSpec{Name: "page", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: blocks * abi.PageBlock, Flags: unix.BPF_F_MMAPABLE}},
		{&e.ring, ebpf.MapSpec{Name: "ring", Type: ebpf.RingBuf, MaxEntries: ringSize}},
		{&e.counters, ebpf.MapSpec{Name: "counters", Type: ebpf.Array, KeySize: 4, ValueSize: countersRow, MaxEntries: 1}},
	} {
		if *m.to, err = ebpf.NewMap(&m.spec); err != nil {
			e.release()
			return nil, fmt.Errorf("endpoint of domain %d: map %s: %w", id, m.spec.Name, err)
		}
	}
	// From here on no system call writes the page: whoever gets its descriptor maps it for reading only.
	if err := e.page.Freeze(); err != nil {
		e.release()
		return nil, fmt.Errorf("endpoint of domain %d: freeze its page: %w", id, err)
	}
	if err := e.files(); err != nil {
		e.release()
		return nil, err
	}
	return e, nil
}

// files makes the descriptors to pass on.
func (e *Endpoint) files() (err error) {
	for _, d := range []struct {
		to **os.File
		m  *ebpf.Map
	}{{&e.pageFile, e.page}, {&e.ringFile, e.ring}, {&e.countersFile, e.counters}} {
		if *d.to, err = dupMap(d.m); err != nil {
			return fmt.Errorf("endpoint of domain %d: %w", e.id, err)
		}
	}
	return nil
}

// SenderChecked reports whether this kernel's filters bind senders to their
// cgroup. Linux 6.1 does not have bpf_get_current_cgroup_id in socket filters.
func (f *Fabric) SenderChecked() bool { return f.cgroups }

// Page is the verdict page, for the domain to map for reading. It stays the
// endpoint's: pass it on, but do not close it.
func (e *Endpoint) Page() *os.File { return e.pageFile }

// Ring is the ring, for OpenRing in the process that writes the audit. It
// stays the endpoint's: pass it on, but do not close it.
func (e *Endpoint) Ring() *os.File { return e.ringFile }

// Counters reads the counters.
func (e *Endpoint) Counters() (Counters, error) {
	b, err := e.counters.LookupBytes(uint32(0))
	if err != nil {
		return Counters{}, fmt.Errorf("counters of domain %d: %w", e.id, err)
	}
	le := binary.LittleEndian
	return Counters{Records: le.Uint64(b), Lost: le.Uint64(b[8:]), Allowed: le.Uint64(b[16:]), Denied: le.Uint64(b[24:])}, nil
}

// Close gives the endpoint up: at once, or when the last of its routes is closed.
func (e *Endpoint) Close() error {
	e.f.mu.Lock()
	defer e.f.mu.Unlock()
	if e.routes > 0 {
		e.closing = true
		return nil
	}
	return e.release()
}

// use keeps the endpoint from being given up, until leave.
//
// Preconditions: Fabric.mu is held.
func (e *Endpoint) use() { e.routes++ }

// leave ends that.
//
// Preconditions: Fabric.mu is held.
func (e *Endpoint) leave() error {
	if e.routes--; e.routes > 0 || !e.closing {
		return nil
	}
	e.closing = false
	return e.release()
}

func (e *Endpoint) release() error {
	var err error
	if e.status != nil {
		err = e.status.Close()
	}
	for _, f := range []*os.File{e.pageFile, e.ringFile, e.countersFile} {
		if f != nil {
			f.Close()
		}
	}
	return errors.Join(err, closeMap(e.page), closeMap(e.ring), closeMap(e.counters))
}

// word changes the status word of a block. The page is frozen, so a program does it.
//
// Preconditions: Fabric.mu is held, or the endpoint is not closed meanwhile (routes).
func (e *Endpoint) word(block uint32, op uint32) error {
	status, err := e.statusProgram()
	if err != nil {
		return fmt.Errorf("endpoint of domain %d: %w", e.id, err)
	}
	arg := binary.LittleEndian.AppendUint32(nil, block)
	arg = binary.LittleEndian.AppendUint32(arg, op)
	r, err := status.Run(&ebpf.RunOptions{Context: arg})
	if err == nil && r != 0 {
		err = fmt.Errorf("no block %d", block)
	}
	if err != nil {
		return fmt.Errorf("status word of domain %d: %w", e.id, err)
	}
	return nil
}

// statusProgram returns the program that changes status words.
func (e *Endpoint) statusProgram() (_ *ebpf.Program, err error) {
	e.statusMu.Lock()
	defer e.statusMu.Unlock()
	if e.status == nil {
		e.status, err = e.f.object.load("status", nil, nil, map[string]*ebpf.Map{"page": e.page})
	}
	return e.status, err
}
