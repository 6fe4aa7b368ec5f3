package gate

import (
	"context"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/image"
)

// Secret is secret memory: an instance of an object that system.yaml calls
// `secret: true`, which only this process has. Its pages are not in the kernel's
// own map: no other process reads them by the kernel, root's neither
// (process_vm_readv, /proc/PID/mem, ptrace, a core dump), and they are never swapped.
// Its descriptor is closed as soon as it is mapped, and a fork has no mapping.
//
// What is copied from it is no secret any more: a string, a slice that append has
// moved, what a package of cryptography keeps of a key. Its bytes may be given to
// write, send and hash as any others, but not to what reads pages and not bytes:
// O_DIRECT and vmsplice fail with EFAULT.
//
// Its methods may be called from several goroutines.
type Secret struct {
	domain *Domain
	object string

	mu    sync.Mutex
	pages []byte // all of the instance; nil once it is closed
	size  int
}

// MakeSecret makes secret memory, filled with zeros, of size bytes, or with 0 of
// as many as instances of the object have. The policy must permit
// ward::Action::"create". What this process closed before is used again. A refusal
// is an *Error that is Denied: ResourceExhausted if the object has as many instances
// as it may. An instance counts until the process ends, whether it is closed or not.
func (d *Domain) MakeSecret(ctx context.Context, object string, size int) (*Secret, error) {
	what := "make " + object
	if size < 0 || size > image.MaxSecretSize {
		return nil, Errorf(InvalidArgument, "%s: a size of %d bytes; secret memory has 1 to %d", what, size, image.MaxSecretSize)
	}
	if s := d.spareSecret(object, size); s != nil {
		return s, nil
	}
	// Always a whole one, so that it fits whoever asks next.
	c := abi.Control{Op: abi.OpMake, Name: object, Access: abi.AccessSecret}
	a, err := d.askOf(ctx, what, `create Object::"`+object+`"`, c, abi.OpObject)
	if err != nil {
		return nil, err
	}
	pages, err := mapSecret(&a)
	if err != nil {
		return nil, &Error{Code: Internal, Message: fmt.Sprintf("%s: %v", what, err)}
	}
	if size > len(pages) {
		d.spares(object, pages)
		return nil, Errorf(ResourceExhausted, "%s: %d bytes: instances have %d", what, size, len(pages))
	}
	return d.newSecret(object, pages, size), nil
}

func (d *Domain) newSecret(object string, pages []byte, size int) *Secret {
	if size == 0 {
		size = len(pages)
	}
	return &Secret{domain: d, object: object, pages: pages, size: size}
}

// mapSecret maps the memory of an answer, and closes its descriptor, by which it
// could be mapped elsewhere.
func mapSecret(a *answer) ([]byte, error) {
	defer a.close()
	if len(a.fds) != 1 || a.Handle == 0 || Access(a.Access) != ReadWrite || a.Size == 0 || a.Size > image.MaxSecretSize {
		return nil, fmt.Errorf("the monitor's answer is malformed: reference %d of %d bytes, access %d, with %d descriptors", a.Handle, a.Size, a.Access, len(a.fds))
	}
	fd := a.fds[0]
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return nil, os.NewSyscallError("fstatfs", err)
	}
	if fs.Type != unix.SECRETMEM_MAGIC {
		return nil, fmt.Errorf("what the monitor gives is not secret: a file of a file system of type %#x", fs.Type)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	if st.Size < 0 || uint64(st.Size) != a.Size { // nobody changes what is not 0
		return nil, fmt.Errorf("a file of %d bytes that is said to have %d", st.Size, a.Size)
	}
	b, err := unix.Mmap(fd, 0, int(a.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err == unix.EAGAIN {
		return nil, fmt.Errorf("map %d bytes: more than this process may lock (RLIMIT_MEMLOCK), which is what the policy lets it make; without cgroup v2, what it let it make when this process started: start the domain again", a.Size)
	}
	if err != nil {
		return nil, fmt.Errorf("map %d bytes of secret memory: %w", a.Size, err)
	}
	if err := unix.Madvise(b, unix.MADV_DONTFORK); err != nil {
		unix.Munmap(b)
		return nil, os.NewSyscallError("madvise", err)
	}
	return b, nil
}

// lateSecret takes over what came when nobody waited for it any more.
func (d *Domain) lateSecret(object string, a *answer) {
	if a.Op != abi.OpObject {
		a.close()
		return
	}
	if pages, err := mapSecret(a); err == nil { // else there is nothing to use
		d.spares(object, pages)
	}
}

// spares keeps pages, which are all zero, for the next that is made of the object.
func (d *Domain) spares(object string, pages []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.spare == nil {
		d.spare = map[string][][]byte{}
	}
	d.spare[object] = append(d.spare[object], pages)
}

// spareSecret takes what was kept, if it is large enough. Without a size the
// monitor would give what the object has now, so any will do.
func (d *Domain) spareSecret(object string, size int) *Secret {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := d.spare[object]
	for i, pages := range list {
		if size <= len(pages) {
			list[i] = list[len(list)-1]
			d.spare[object] = list[:len(list)-1]
			return d.newSecret(object, pages, size)
		}
	}
	return nil
}

// Bytes is the memory: the same each time, and nil once it is closed.
func (s *Secret) Bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pages == nil {
		return nil
	}
	return s.pages[:s.size:s.size]
}

// Size is the size in bytes.
func (s *Secret) Size() int { return s.size }

// Close fills it with zeros and keeps it for the next that is made of its object.
// Slices of Bytes must not be used any more.
func (s *Secret) Close() error {
	s.mu.Lock()
	pages := s.pages
	s.pages = nil
	s.mu.Unlock()
	if pages != nil {
		clear(pages)
		s.domain.spares(s.object, pages)
	}
	return nil
}
