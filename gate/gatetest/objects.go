package gatetest

import (
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"ward/abi"
)

// Object is a memory object that a Monitor has. The domains that are listed may
// do what the field says.
type Object struct {
	Size    uint64 // of an instance, at most; of shared memory, just so
	Shared  bool
	Secret  bool // of its maker alone: memfd_secret, which the kernel must have
	Makers  []string
	Readers []string
	Writers []string

	shared *instance
}

// instance is memory, and how many references, offers and objects have it.
type instance struct {
	object *Object
	fd     int
	size   uint64
	users  int
}

// an end of a gate of this monitor.
type end struct {
	domain string
	block  uint32
}

type reference struct {
	*instance
	access uint8
}

type offer struct {
	reference
	from, to end
}

// objects is what a Monitor knows of memory. Its gates have no filters: whoever
// names an offer of its gate gets the memory, once, also if no message carried it.
type objects struct {
	peers  map[end]end
	refs   map[string]map[uint64]reference
	offers map[uint64]offer
	last   uint64 // number of a reference or an offer
	blocks uint32
}

func newObjects() objects {
	return objects{peers: map[end]end{}, refs: map[string]map[uint64]reference{}, offers: map[uint64]offer{}}
}

// Objects declares memory objects. It is called before any domain asks for one.
func (m *Monitor) Objects(named map[string]*Object) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.named = named
}

// References is the number of references that a domain has.
func (m *Monitor) References(domain string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.objects.refs[domain])
}

// Offers is the number of offers that nobody has redeemed.
func (m *Monitor) Offers() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.objects.offers)
}

// join notes the two ends of a gate, and numbers their blocks.
//
// Preconditions: m.mu is held.
func (m *Monitor) join(client, server string) (clientBlock, serverBlock uint32) {
	o := &m.objects
	o.blocks += 2
	a, b := end{client, o.blocks - 2}, end{server, o.blocks - 1}
	o.peers[a], o.peers[b] = b, a
	return a.block, b.block
}

// object answers what a domain asks of objects. It reports false if c is
// something else.
//
// Preconditions: m.mu is held.
func (m *Monitor) object(domain string, fd int, c *abi.Control) bool {
	var answer abi.Control
	var fds []int
	switch c.Op {
	case abi.OpMake:
		answer, fds = m.make(domain, c)
	case abi.OpOpenObject:
		answer, fds = m.openShared(domain, c)
	case abi.OpOffer:
		answer = m.offer(domain, c)
	case abi.OpRedeem:
		answer, fds = m.redeem(domain, c)
	case abi.OpRetract:
		answer = m.retract(domain, c)
	case abi.OpDrop:
		answer = refused(abi.ReasonDefault, "no such reference")
		if r, ok := m.objects.refs[domain][c.Handle]; ok && !r.object.Secret {
			delete(m.objects.refs[domain], c.Handle)
			r.leave()
			answer = abi.Control{Op: abi.OpOK}
		}
	default:
		return false
	}
	answer.Seq = c.Seq
	if m.Tamper != nil {
		fds = m.Tamper(c, &answer, fds)
	}
	m.send(fd, answer, fds...)
	return true
}

func refused(r abi.Reason, text string) abi.Control {
	return abi.Control{Op: abi.OpRefused, Reason: r, Detail: abi.NoPolicy, Text: text}
}

func (i *instance) leave() {
	if i.users--; i.users == 0 {
		unix.Close(i.fd)
	}
}

func newInstance(o *Object, size uint64) (*instance, error) {
	if o.Secret {
		fd, err := unix.MemfdSecret(unix.O_CLOEXEC)
		if err != nil {
			return nil, os.NewSyscallError("memfd_secret", err)
		}
		return &instance{object: o, fd: fd, size: size}, os.NewSyscallError("ftruncate", unix.Ftruncate(fd, int64(size)))
	}
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		return nil, os.NewSyscallError("ftruncate", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW); err != nil {
		return nil, os.NewSyscallError("F_ADD_SEALS", err)
	}
	return &instance{object: o, fd: fd, size: size}, nil
}

// grant gives a domain a reference of an instance.
func (m *Monitor) grant(domain string, i *instance, access uint8) (abi.Control, []int) {
	flags := unix.O_RDONLY
	if access&abi.AccessWrite != 0 {
		flags = unix.O_RDWR
	}
	var fd int
	var err error
	if i.object.Secret { // which is not opened twice
		fd, err = unix.FcntlInt(uintptr(i.fd), unix.F_DUPFD_CLOEXEC, 0)
	} else {
		fd, err = unix.Open(fmt.Sprintf("/proc/self/fd/%d", i.fd), flags|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		m.t.Errorf("monitor: open memory: %v", err)
		return refused(abi.ReasonRace, err.Error()), nil
	}
	i.users++
	m.objects.last++
	if m.objects.refs[domain] == nil {
		m.objects.refs[domain] = map[uint64]reference{}
	}
	m.objects.refs[domain][m.objects.last] = reference{i, access}
	return abi.Control{Op: abi.OpObject, Handle: m.objects.last, Size: i.size, Access: access}, []int{fd}
}

func (m *Monitor) make(domain string, c *abi.Control) (abi.Control, []int) {
	o := m.named[c.Name]
	if o == nil || o.Shared || !slices.Contains(o.Makers, domain) {
		return refused(abi.ReasonDefault, ""), nil
	}
	if o.Secret != (c.Access == abi.AccessSecret) {
		return refused(abi.ReasonHandle, "it is secret and was not asked for as that, or the other way round"), nil
	}
	size := c.Size
	if size == 0 {
		size = o.Size
	}
	if size > o.Size {
		return refused(abi.ReasonQuota, fmt.Sprintf("%d bytes: instances have at most %d", size, o.Size)), nil
	}
	i, err := newInstance(o, size)
	if err != nil {
		m.t.Errorf("monitor: %v", err)
		return refused(abi.ReasonRace, err.Error()), nil
	}
	return m.grant(domain, i, abi.AccessRead|abi.AccessWrite)
}

// may reports whether a domain may have this access.
func (o *Object) may(domain string, access uint8) bool {
	return slices.Contains(o.Readers, domain) && (access&abi.AccessWrite == 0 || slices.Contains(o.Writers, domain))
}

func (m *Monitor) openShared(domain string, c *abi.Control) (abi.Control, []int) {
	o := m.named[c.Name]
	if o == nil || !o.Shared || !o.may(domain, c.Access) {
		return refused(abi.ReasonDefault, ""), nil
	}
	if o.shared == nil {
		i, err := newInstance(o, o.Size)
		if err != nil {
			m.t.Errorf("monitor: %v", err)
			return refused(abi.ReasonRace, err.Error()), nil
		}
		i.users = 1
		o.shared = i
	}
	return m.grant(domain, o.shared, c.Access)
}

func (m *Monitor) offer(domain string, c *abi.Control) abi.Control {
	r, ok := m.objects.refs[domain][c.Handle]
	from := end{domain, c.Block}
	to, joined := m.objects.peers[from]
	switch {
	case !ok || !joined || r.object.Secret:
		return refused(abi.ReasonDefault, "no such reference, or no such gate")
	case c.Access&^r.access != 0 || !r.object.may(to.domain, c.Access):
		return refused(abi.ReasonDefault, "no policy lets "+to.domain+" open it")
	}
	if c.Access&abi.AccessWrite == 0 {
		if _, err := unix.FcntlInt(uintptr(r.fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); err != nil {
			return refused(abi.ReasonState, "it is mapped for writing: unmap it first")
		}
	}
	r.users++
	m.objects.last++
	id := m.objects.last<<16 | 1
	m.objects.offers[id] = offer{reference{r.instance, c.Access}, from, to}
	return abi.Control{Op: abi.OpOK, Handle: id}
}

func (m *Monitor) redeem(domain string, c *abi.Control) (abi.Control, []int) {
	o, ok := m.objects.offers[c.Handle]
	if !ok || o.to != (end{domain, c.Block}) {
		return refused(abi.ReasonDefault, "no message of this gate carried it"), nil
	}
	delete(m.objects.offers, c.Handle)
	defer o.leave()
	return m.grant(domain, o.instance, o.access)
}

func (m *Monitor) retract(domain string, c *abi.Control) abi.Control {
	o, ok := m.objects.offers[c.Handle]
	if from := (end{domain, c.Block}); !ok || o.from != from && o.to != from {
		return refused(abi.ReasonDefault, "no such offer")
	}
	delete(m.objects.offers, c.Handle)
	o.leave()
	return abi.Control{Op: abi.OpOK}
}

// close gives up shared memory.
func (o *Object) close() {
	if o.shared != nil {
		o.shared.leave()
		o.shared = nil
	}
}

// close gives up what is left when the monitor ends.
func (o *objects) close() {
	for _, refs := range o.refs {
		for _, r := range refs {
			r.leave()
		}
	}
	for _, o := range o.offers {
		o.leave()
	}
	o.refs, o.offers = map[string]map[uint64]reference{}, map[uint64]offer{}
}
