package monitor

import (
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/audit/event"
	"ward/image"
	"ward/monitor/admin"
)

// MakeSecret makes what is like secret memory: it is not opened twice.
func (m *fakeMemories) MakeSecret(size uint64) (*os.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.none != nil {
		return nil, m.none
	}
	fd, err := unix.MemfdCreate("secret", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "secret"), unix.Ftruncate(fd, int64(size))
}

func (m *fakeMemories) Secrets() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.none
}

// keys is secret memory that client may make, two at a time.
const keys uint32 = 2

func withKeys(img *image.Image) {
	none := slices.Repeat([]image.Verdict{{Policy: abi.NoPolicy}}, len(img.Domains))
	create := slices.Clone(none)
	create[client] = image.Verdict{Allow: true, Policy: 0}
	img.Objects = append(img.Objects, image.Object{Name: "keys", Kind: image.ObjectSecret, Size: 1 << 12, Count: 2, Domain: abi.NoDomain, Create: create, Read: none, Write: none})
}

// secretSystem is one with frames, board and keys, whose monitor can be followed by another one.
func secretSystem(t *testing.T) (*system, *aKeeper) {
	keeper := &aKeeper{}
	s := memorySystem(t, func(c *Config) {
		withKeys(c.Image)
		keeper.fakeHolder = c.Holder.(fakeHolder)
		c.Holder, c.Fabric = keeper, &aFabric{c.Fabric.(*fakeFabric), map[uint32]Gate{}}
	})
	return s, keeper
}

func makesKey(seq uint32, size uint64) abi.Control {
	return abi.Control{Op: abi.OpMake, Seq: seq, Name: "keys", Size: size, Access: abi.AccessSecret}
}

// had is how many descriptors of secret memory the monitor and the holder have.
func (s *system) had(k *aKeeper) (monitor, holder int) {
	s.m.mu.Lock()
	for id := range s.m.book.memory {
		if s.m.book.Instance(id).Secret {
			monitor++
		}
	}
	if err := s.m.book.Check(); err != nil {
		s.t.Error(err)
	}
	s.m.mu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range k.kept {
		if strings.HasPrefix(e.Name, keptInstance) {
			holder += len(e.Files)
		}
	}
	return monitor, holder
}

// Secret memory is its maker's: nobody keeps a descriptor of it, it goes to
// nobody else, and counts until nothing of the maker's process runs.
func TestSecretMemory(t *testing.T) {
	s, k := secretSystem(t)
	c, srv := s.domain(client), s.domain(server)
	cb, _ := s.joined(c, srv)
	ref, f := c.gets(makesKey(1, 0), readWrite, 1<<12)
	if e := s.audit.last(event.Object); !e.Allow || e.Domain != client || e.Interface != keys || e.Count != 1<<12 || e.Status != int32(abi.OpMake) || e.List[0] != 0 || e.Policy != 0 {
		t.Errorf("record: %+v", e)
	}
	if m, h := s.had(k); m+h != 0 {
		t.Errorf("the monitor has %d descriptors of it, the holder %d", m, h)
	}
	c.gets(makesKey(2, 100), readWrite, 100)
	c.refused(makesKey(3, 0), abi.ReasonQuota)

	for i, access := range []uint8{readOnly, readWrite} {
		if text := c.refused(offer(4+uint32(i), ref, cb, access), abi.ReasonHandle); !strings.Contains(text, "only who made it") {
			t.Errorf("offered: %s", text)
		}
	}
	f.Close() // of which nobody knows whether it was the last
	if text := c.refused(drop(6, ref), abi.ReasonHandle); !strings.Contains(text, "until the process ends") {
		t.Errorf("dropped: %s", text)
	}
	c.refused(makesKey(7, 0), abi.ReasonQuota)
	c.refused(makesKey(8, 1<<12+1), abi.ReasonQuota)

	// By name nobody opens it, and nobody else makes it; nor is it made, or
	// something else, by who takes it for something else.
	for who, d := range map[string]*fakeDomain{"client": c, "server": srv} {
		if text := d.refused(abi.Control{Op: abi.OpOpenObject, Seq: 100, Name: "keys", Access: readOnly}, abi.ReasonDefault); !strings.Contains(text, "no policy lets "+who) {
			t.Errorf("opened: %s", text)
		}
	}
	srv.refused(makesKey(101, 0), abi.ReasonDefault)
	c.refused(abi.Control{Op: abi.OpMake, Seq: 102, Name: "keys"}, abi.ReasonHandle)
	c.refused(abi.Control{Op: abi.OpMake, Seq: 103, Name: "frames", Access: abi.AccessSecret}, abi.ReasonHandle)
	if text := c.refused(abi.Control{Op: abi.OpMake, Seq: 104, Name: "nothing", Access: abi.AccessSecret}, abi.ReasonDefault); !strings.Contains(text, "no policy lets") {
		t.Errorf("of what is not there: %s", text)
	}
	if d, _ := s.m.describe(client, true); len(d.Descriptor.Objects) != 3 || d.Descriptor.Objects[2].Kind != "secret memory" || d.Descriptor.Objects[2].Held != 2 || d.Descriptor.Objects[2].Bytes != 1<<12+100 {
		t.Errorf("described: %+v", d.Descriptor.Objects)
	}

	s.creator.Signal(t.Context(), client, syscall.SIGKILL)
	s.untilEnded(client)
	s.m.mu.Lock()
	left := len(s.m.book.Instances())
	s.m.mu.Unlock()
	if names := k.names(); left != 0 || slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, keptInstance) }) {
		t.Errorf("%d instances are left, kept: %q", left, names)
	}
}

// A monitor that dies while it gives secret memory away leaves it to the next
// one, if nobody was told; what was told has its maker alone.
func TestSecretMemoryBetween(t *testing.T) {
	for _, test := range []struct {
		dies string // before the monitor keeps this, the n-th time
		nth  int
		told bool // by the next one
		left int
	}{
		{"put reference ", 1, false, 0},
		{"put object ", 2, true, 1},
		{"never", 1, false, 1},
	} {
		t.Run(test.dies, func(t *testing.T) {
			s, k := secretSystem(t)
			c := s.domain(client)
			k.mu.Lock()
			n := 0
			k.dies = func(name string) bool {
				if strings.HasPrefix(name, test.dies) {
					n++
				}
				return n == test.nth
			}
			k.mu.Unlock()
			ref, _ := c.gets(makesKey(1, 0), readWrite, 1<<12)
			m := s.next(k)
			if test.told {
				got, files := c.read()
				c.isObject(&got, files, readWrite, 1<<12)
				if got.Seq != 1 || got.Handle != ref {
					t.Errorf("told again: %+v", got)
				}
			}
			m.mu.Lock()
			if n := len(m.book.Instances()); n != test.left || len(m.book.memory) != 0 {
				t.Errorf("%d instances, of which the next monitor has %d", n, len(m.book.memory))
			}
			for _, i := range m.book.Instances() {
				if !i.Secret {
					t.Errorf("%+v is secret no more", i)
				}
			}
			m.mu.Unlock()
			got, _ := s.do(m, client, c, makesKey(2, 0))
			if got.Op != abi.OpObject {
				t.Fatalf("the next: %+v", got)
			}
			if test.left == 1 {
				if got, _ := s.do(m, client, c, makesKey(3, 0)); got.Op != abi.OpRefused || got.Reason != abi.ReasonQuota {
					t.Errorf("a third: %+v", got)
				}
				if got, _ := s.do(m, client, c, drop(4, ref)); got.Op != abi.OpRefused {
					t.Errorf("dropped: %+v", got)
				}
			}
		})
	}
}

// Where the kernel has no secret memory, a system that needs it neither starts nor comes into force.
func TestNoSecretMemory(t *testing.T) {
	without := &fakeMemories{none: errors.New("none in this kernel")}
	img := testImage()
	withObjects(img)
	withKeys(img)
	_, err := New(Config{Image: img, RunDir: t.TempDir(), Memories: without})
	if err == nil || !strings.Contains(err.Error(), "object keys is secret: none in this kernel") {
		t.Errorf("it starts: %v", err)
	}
	// What nobody may make, nobody needs.
	img.Objects[keys].Create = slices.Clone(img.Objects[keys].Read)
	if _, err := New(Config{Image: img, RunDir: t.TempDir(), Memories: without}); err != nil {
		t.Errorf("without a maker: %v", err)
	}

	s := changingWith(t, func(c *Config) { c.Memories = without })
	change := func() error {
		_, err := s.ask(&admin.Change{Image: sealed(t, changed(t, withKeys))})
		return err
	}
	if err := change(); err == nil || !strings.Contains(err.Error(), "object keys is secret: none in this kernel") {
		t.Errorf("a reload brings it: %v", err)
	}
	without.mu.Lock()
	without.none = nil
	without.mu.Unlock()
	if err := change(); err != nil && strings.Contains(err.Error(), "is secret") { // the control
		t.Errorf("where there is some: %v", err)
	}
}
