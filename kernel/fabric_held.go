package kernel

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/filter"
)

// A Held is a verified program that stays loaded when no route uses it any more, so
// that a route that is loaded later, and judges the same of the same sender, need not
// wait for the kernel to verify it again. It judges nothing: it is in no program array.
type Held struct {
	f    *Fabric
	l    *loaded
	once sync.Once
}

// heldFormat is how a program is made of a filter.Program and its constants: raise it
// with whatever changes that, since another version of this program may find what this one held.
const heldFormat = 1

// madeOf says of what programs are made in this version, beside their content (contentOf).
var madeOf = sync.OnceValue(func() string {
	return fmt.Sprintf("%d %x", heldFormat, sha256.Sum256(filter.Object))
})

// A HeldState describes a program that is held.
type HeldState struct {
	Made    string // madeOf
	Content []byte // contentOf
	Buckets []BucketState
}

// HoldRequests holds the program that judges what the client of the route sends: it
// looks up nothing of the server, so it is the same for the server's next process. nil:
// the route is closed or empty, or its programs are another process's, of which it is
// not known what they judge.
func (r *Route) HoldRequests() *Held {
	f := r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	l := r.programs[abi.Request]
	if r.closed || l == nil || l.program == nil {
		return nil
	}
	f.shared.mu.Lock()
	defer f.shared.mu.Unlock()
	l.uses++
	return &Held{f: f, l: l}
}

// Judges reports whether what is held is what judges a route's requests.
func (h *Held) Judges(r *Route) bool {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	return !r.closed && r.programs[abi.Request] == h.l
}

// Release ends that. It may be called more than once.
func (h *Held) Release() {
	h.once.Do(func() { h.f.shared.put(h.l, h.f.tables, h.f.buckets) })
}

// Describe says what another process needs to restore it, which keeps a descriptor of
// the program: the receiver closes it.
func (h *Held) Describe() (HeldState, *os.File, error) {
	s := HeldState{Made: madeOf(), Content: h.l.key.content[:]}
	h.f.buckets.mu.Lock()
	for _, name := range h.l.buckets {
		s.Buckets = append(s.Buckets, BucketState{name, h.f.buckets.byName[name].row})
	}
	h.f.buckets.mu.Unlock()
	fd, err := unix.FcntlInt(uintptr(h.l.program.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return s, nil, fmt.Errorf("duplicate the descriptor of a program: %w", err)
	}
	return s, os.NewFile(uintptr(fd), "held program"), nil
}

// ErrOtherVersion is what errors.Is finds if another version of this program made what
// is to be restored: it may judge otherwise than what this one would make.
var ErrOtherVersion = errors.New("made by another version")

// RestoreHeld takes over a program that another process held of a sender whose endpoint
// is restored; the caller keeps its own descriptor.
func (f *Fabric) RestoreHeld(s HeldState, sender *Endpoint, program *os.File) (*Held, error) {
	if s.Made != madeOf() {
		return nil, fmt.Errorf("a held program: %w", ErrOtherVersion)
	}
	key := programKey{sender: sender}
	if copy(key.content[:], s.Content) != sha256.Size || len(s.Content) != sha256.Size {
		return nil, fmt.Errorf("a held program: its hash has %d bytes, want %d", len(s.Content), sha256.Size)
	}
	fd, err := unix.FcntlInt(program.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate the descriptor of a program: %w", err)
	}
	p, err := ebpf.NewProgramFromFD(fd)
	if err != nil {
		return nil, fmt.Errorf("a held program: %w", err)
	}
	l := f.buckets.restored(s.Buckets)
	l.key, l.program = key, p
	f.shared.mu.Lock()
	known := f.shared.byKey[key] != nil
	if !known {
		if f.shared.byKey == nil {
			f.shared.byKey = map[programKey]*loaded{}
		}
		f.shared.byKey[key] = l
	}
	f.shared.mu.Unlock()
	if known {
		f.buckets.give(l.buckets)
		p.Close()
		return nil, errors.New("a held program: it is held twice")
	}
	return &Held{f: f, l: l}, nil
}
