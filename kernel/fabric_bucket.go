package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/filter"
	"ward/image"
)

// A bucketTable finds the rows of token buckets by name. A bucket belongs to a
// policy, a method, a direction and a sender, not to a gate or a program: it is
// the same for all gates of one sender, before and after a swap, and for a user
// who comes again. What nobody uses any more is forgotten only once it is full,
// and only when there is no other room; so coming again does not fill it.
//
// The row of a bucket is the time, CLOCK_BOOTTIME in ns, at which it will be full.
//
// Locking: it has a lock of its own, taken without Fabric.mu or after it.
type bucketTable struct {
	mu     sync.Mutex
	m      *ebpf.Map
	rows   pool
	byName map[string]*bucket
	kin    uint32 // those of children and delegations,
	most   uint32 // … of which there may be so many; 0: no bound
}

// ErrKinBuckets: the buckets that children and delegations may have are in use, or not full again.
var ErrKinBuckets = errors.New("all buckets of rates of children and delegations are in use or not full again")

type bucket struct {
	row  uint32
	uses int // programs that charge it
}

func (t *bucketTable) open(n, kin uint32) (err error) {
	t.rows, t.byName, t.most = newPool(n), map[string]*bucket{}, kin
	t.m, err = ebpf.NewMap(&ebpf.MapSpec{Name: "buckets", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: max(n, 1)})
	if err != nil {
		return fmt.Errorf("map buckets: %w", err)
	}
	return nil
}

// take returns the rows of the buckets with these names, for one program.
func (t *bucketTable) take(names []string) ([]uint32, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var rows []uint32
	for i, name := range names {
		b, err := t.bucket(name)
		if err != nil {
			t.put(names[:i])
			return nil, fmt.Errorf("bucket of %s: %w", name, err)
		}
		b.uses++
		rows = append(rows, b.row)
	}
	return rows, nil
}

// bucket returns the bucket with a name, which may be a new one.
func (t *bucketTable) bucket(name string) (*bucket, error) {
	if b := t.byName[name]; b != nil {
		return b, nil
	}
	if err := t.count(name); err != nil {
		return nil, err
	}
	row, err := t.row()
	if err != nil {
		t.uncount(name)
		return nil, err
	}
	if b := t.byName[name]; b != nil { // another program's, which came while the row was waited for
		t.uncount(name)
		t.rows.put(row)
		return b, nil
	}
	b := &bucket{row: row}
	t.byName[name] = b
	return b, nil
}

// count counts a bucket that is about to be, if it is of a child or a delegation: there
// are so many of these in time that none would be left for others.
func (t *bucketTable) count(name string) error {
	if !ofKin(name) {
		return nil
	}
	if t.most > 0 && t.kin >= t.most {
		if err := t.forget(); err != nil {
			return err
		}
		if t.kin >= t.most {
			return fmt.Errorf("%w: there are %d", ErrKinBuckets, t.most)
		}
	}
	t.kin++
	return nil
}

// uncount ends that.
func (t *bucketTable) uncount(name string) {
	if ofKin(name) {
		t.kin--
	}
}

// ofKin reports whether a bucket is that of a child or of a delegation, by the
// names that package filter gives them.
func ofKin(name string) bool {
	if strings.HasPrefix(name, onceMark(true)) {
		return true
	}
	rest, domain := strings.CutPrefix(name, "domain ")
	number, _, _ := strings.Cut(rest, " ")
	id, err := strconv.ParseUint(number, 10, 32)
	return domain && err == nil && abi.DomainID(id) >= image.FirstChild
}

// drop gives up the row of a bucket.
func (t *bucketTable) drop(name string, b *bucket) {
	delete(t.byName, name)
	t.uncount(name)
	t.rows.put(b.row)
}

// give ends what take began.
func (t *bucketTable) give(names []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.put(names)
}

func (t *bucketTable) put(names []string) {
	for _, name := range names {
		b := t.byName[name]
		if b.uses--; b.uses == 0 && strings.HasPrefix(name, onceMark(true)) {
			t.drop(name, b)
		}
	}
}

// onceMark begins the names of buckets that nobody charges again once no
// program does: their rows are free at once, full or not.
func onceMark(once bool) string {
	if once {
		return "once "
	}
	return ""
}

// row returns the row of a new, full bucket. It may give t.mu up in between.
func (t *bucketTable) row() (uint32, error) {
	row, err := t.rows.get(&t.mu)
	if errors.Is(err, errPoolEmpty) {
		if err := t.forget(); err != nil {
			return 0, err
		}
		row, err = t.rows.get(&t.mu)
	}
	if errors.Is(err, errPoolEmpty) {
		return 0, fmt.Errorf("all %d buckets of rates are in use or not full again; close gates, or start the system with room for more", t.rows.limit)
	}
	if err != nil {
		return 0, err
	}
	if err := t.m.Put(row, uint64(0)); err != nil {
		t.rows.put(row)
		return 0, err
	}
	return row, nil
}

// forget gives up the rows of buckets that nobody uses and that are full.
func (t *bucketTable) forget() error {
	now, err := bootTime()
	if err != nil {
		return err
	}
	for name, b := range t.byName {
		if b.uses > 0 {
			continue
		}
		v, err := t.m.LookupBytes(b.row)
		if err != nil {
			return err
		}
		if binary.LittleEndian.Uint64(v) <= now {
			t.drop(name, b)
		}
	}
	return nil
}

// bootTime is the clock of buckets, ns. Source: clock_gettime(2), CLOCK_BOOTTIME.
func bootTime() (uint64, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0, fmt.Errorf("clock: %w", err)
	}
	return uint64(ts.Nano()), nil
}

// bucketNames are those of what a program charges when sender sends.
func bucketNames(p *filter.Program, sender *Endpoint) ([]string, error) {
	var names []string
	for i := range p.Rates {
		whose := p.Rates[i].Sender
		if whose == "" {
			whose = sender.sender
		}
		if whose == "" {
			return nil, errors.New("its policy has a rate, and it is not known whose: make the endpoint of a user with AddUser")
		}
		names = append(names, onceMark(p.Rates[i].Once)+whose+" "+p.Rates[i].Bucket)
	}
	return names, nil
}
