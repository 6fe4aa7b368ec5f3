package gate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/image"
)

// Access says what may be done with memory.
type Access uint8

// What may be done with memory.
const (
	ReadOnly  = Access(abi.AccessRead)
	ReadWrite = Access(abi.AccessRead | abi.AccessWrite)
)

func (a Access) valid() bool { return a == ReadOnly || a == ReadWrite }

// Memory is an instance of a memory object of system.yaml: this domain made it,
// opened it, or was given it by a handle in a message. Once it is here nothing
// checks its use: it is a descriptor with just the rights that were granted, and
// the memory behind it.
//
// Its size never changes, so no access within Bytes faults. Its contents may, as
// long as somebody may write: copy what is checked before it is used. What came
// with a handle that may not write is constant (Constant).
//
// Its methods may be called from several goroutines.
type Memory struct {
	domain    *Domain
	reference uint64 // this domain's number of it
	size      int
	granted   Access

	mu    sync.Mutex
	file  *os.File // nil once it is closed
	bytes []byte   // nil while it is not mapped
}

// Make makes an instance of a memory object, filled with zeros. size is in
// bytes; 0 is as large as instances of the object may be. The policy must permit
// ward::Action::"create". A refusal is an *Error that is Denied: ResourceExhausted
// if the object has as many instances as it may, or this domain as many
// references (64). Pages take up memory, of whoever writes them first, when they
// are first written.
func (d *Domain) Make(ctx context.Context, object string, size int) (*Memory, error) {
	what := "make " + object
	if size < 0 || size > image.MaxObjectSize {
		return nil, Errorf(InvalidArgument, "%s: a size of %d bytes; memory has 1 to %d", what, size, image.MaxObjectSize)
	}
	want := grant{access: ReadWrite, size: uint64(size)}
	return d.memory(ctx, what, `create Object::"`+object+`"`, abi.Control{Op: abi.OpMake, Name: object, Size: uint64(size)}, want)
}

// OpenMemory opens shared memory by the name of its object: with ReadOnly the
// policy must permit ward::Action::"open.read", with ReadWrite "open.write", too.
// It is the same memory for all who open it, as long as the system runs.
func (d *Domain) OpenMemory(ctx context.Context, object string, access Access) (*Memory, error) {
	what := "open " + object
	if !access.valid() {
		return nil, Errorf(InvalidArgument, "%s: access %d: it is ReadOnly or ReadWrite", what, access)
	}
	return d.memory(ctx, what, access.verb()+` Object::"`+object+`"`, abi.Control{Op: abi.OpOpenObject, Name: object, Access: uint8(access)}, grant{access: access})
}

func (a Access) verb() string {
	if a == ReadWrite {
		return "write"
	}
	return "read"
}

// A grant is what an answer of the monitor must be.
type grant struct {
	access   Access
	size     uint64 // 0: any
	constant bool   // nobody may write it any more
}

// memory asks the monitor for an instance. deed is what a policy would permit.
func (d *Domain) memory(ctx context.Context, what, deed string, c abi.Control, want grant) (*Memory, error) {
	a, err := d.askOf(ctx, what, deed, c, abi.OpObject)
	if err != nil {
		return nil, err
	}
	m, err := d.newMemory(&a, want)
	if err != nil {
		d.undo(&c, &a)
		return nil, &Error{Code: Internal, Message: fmt.Sprintf("%s: the monitor's answer is not what was asked for: %v", what, err)}
	}
	return m, nil
}

// newMemory takes over the descriptor of an answer, if it is good.
func (d *Domain) newMemory(a *answer, want grant) (*Memory, error) {
	if len(a.fds) != 1 || a.Handle == 0 {
		return nil, fmt.Errorf("reference %d with %d descriptors", a.Handle, len(a.fds))
	}
	if Access(a.Access) != want.access {
		return nil, fmt.Errorf("access %d, not %d", a.Access, want.access)
	}
	if a.Size == 0 || a.Size > image.MaxObjectSize || want.size != 0 && a.Size != want.size {
		return nil, fmt.Errorf("%d bytes, not %d", a.Size, want.size)
	}
	if err := examineMemory(a.fds[0], a.Size, want); err != nil {
		return nil, err
	}
	m := &Memory{domain: d, reference: a.Handle, size: int(a.Size), granted: want.access, file: os.NewFile(uintptr(a.fds[0]), "memory")}
	a.fds = nil
	return m, nil
}

// examineMemory reports what keeps a descriptor from being memory of this size
// and access: a page of it that is missing would end the program when it is read
// (SIGBUS), so the size must be sealed.
func examineMemory(fd int, size uint64, want grant) error {
	// Pages of hugetlbfs, which has seals, too, may run out.
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return os.NewSyscallError("fstatfs", err)
	}
	if fs.Type != unix.TMPFS_MAGIC {
		return fmt.Errorf("a file of a file system of type %#x", fs.Type)
	}
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		return os.NewSyscallError("F_GET_SEALS", err)
	}
	if size := unix.F_SEAL_SHRINK | unix.F_SEAL_GROW; seals&size != size {
		return fmt.Errorf("a file whose size may change (seals %#x)", seals)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil { // after the seals: what it says stays so
		return os.NewSyscallError("fstat", err)
	}
	if st.Size < 0 || uint64(st.Size) != size {
		return fmt.Errorf("a file of %d bytes that is said to have %d", st.Size, size)
	}
	if want.constant && seals&unix.F_SEAL_WRITE == 0 {
		return fmt.Errorf("memory that may be written (seals %#x)", seals)
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return os.NewSyscallError("F_GETFL", err)
	}
	mode := unix.O_RDONLY
	if want.access == ReadWrite {
		mode = unix.O_RDWR
	}
	if flags&unix.O_ACCMODE != mode || flags&unix.O_PATH != 0 {
		return fmt.Errorf("a descriptor with flags %#x", flags)
	}
	return nil
}

// Size is the size in bytes.
func (m *Memory) Size() int { return m.size }

// Bytes maps the memory, once: it returns the same slice each time, until Unmap.
// Where Writable is false it is mapped read-only: a write to it ends the program.
func (m *Memory) Bytes() ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.file == nil {
		return nil, m.closed()
	}
	if m.bytes != nil {
		return m.bytes, nil
	}
	b, err := m.mapped()
	if err != nil {
		return nil, &Error{Code: Internal, Message: fmt.Sprintf("map %d bytes of memory: %v", m.size, err)}
	}
	m.bytes = b
	return b, nil
}

// mapped maps the memory.
//
// Preconditions: m.mu is held; m.file is open.
func (m *Memory) mapped() ([]byte, error) {
	fd := int(m.file.Fd())
	if m.granted == ReadWrite && !m.constant() {
		b, err := unix.Mmap(fd, 0, m.size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != unix.EPERM || !m.constant() { // else another who may write has sealed it just now
			return b, os.NewSyscallError("mmap", err)
		}
	}
	flags := unix.MAP_SHARED
	if m.constant() {
		// There is nothing to share. Before Linux 6.7 the kernel refuses a shared
		// mapping by a descriptor for writing (mm/mmap.c, mapping_map_writable).
		flags = unix.MAP_PRIVATE
	}
	b, err := unix.Mmap(fd, 0, m.size, unix.PROT_READ, flags)
	return b, os.NewSyscallError("mmap", err)
}

// Unmap takes the mapping back: slices of Bytes must not be used any more. Who
// offers memory read-only must unmap it first, if it could write it.
func (m *Memory) Unmap() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.unmap()
}

// unmap is Unmap.
//
// Preconditions: m.mu is held.
func (m *Memory) unmap() error {
	if m.bytes == nil {
		return nil
	}
	b := m.bytes
	m.bytes = nil
	return os.NewSyscallError("munmap", unix.Munmap(b))
}

// Close unmaps the memory, closes it, and gives its reference back to the
// monitor, without waiting for it. The memory itself lives as long as anybody has it, or has it mapped.
func (m *Memory) Close() error {
	m.mu.Lock()
	if m.file == nil {
		m.mu.Unlock()
		return nil
	}
	err := errors.Join(m.unmap(), m.file.Close())
	m.file = nil
	m.mu.Unlock()
	m.domain.drop(m.reference)
	return err
}

// Writable reports whether this domain may write the memory now: not after it
// was offered read-only.
func (m *Memory) Writable() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.file != nil && m.granted == ReadWrite && !m.constant()
}

// Constant reports whether the memory is sealed: nobody can write it any more,
// neither its maker nor the kernel for anybody.
func (m *Memory) Constant() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.file != nil && m.constant()
}

// constant is Constant.
//
// Preconditions: m.mu is held; m.file is open.
func (m *Memory) constant() bool {
	seals, err := unix.FcntlInt(m.file.Fd(), unix.F_GET_SEALS, 0)
	return err == nil && seals&unix.F_SEAL_WRITE != 0
}

// File is the memory as a file, for programs that read and write it, or map it
// themselves. It belongs to m: Close closes it. It is nil after that.
func (m *Memory) File() *os.File {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.file
}

func (m *Memory) closed() error { return Errorf(FailedPrecondition, "the memory was closed") }
