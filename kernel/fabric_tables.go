package kernel

import (
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"
)

// A tableCache shares read-only maps of equal content between programs: both
// directions of a route and the routes to one server often walk the same messages.
//
// Locking: it has a lock of its own, taken after Fabric.mu or without it, and
// held for system calls on maps only.
type tableCache struct {
	mu     sync.Mutex
	byHash map[[sha256.Size]byte]*table
}

type table struct {
	m    *ebpf.Map
	key  [sha256.Size]byte
	uses int
}

// get returns the map with the rows of content, each of size bytes.
func (c *tableCache) get(name string, content []byte, size int) (*table, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := sha256.Sum256(append([]byte(name+"\x00"), content...))
	if t := c.byHash[key]; t != nil {
		t.uses++
		return t, nil
	}
	n := len(content) / size
	// Not BPF_F_RDONLY_PROG: of a frozen map with that flag the verifier wants to read the
	// rows itself, and refuses the program (ENOTSUPP) if there is more than one (seen on 6.18).
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: name, Type: ebpf.Array, KeySize: 4, ValueSize: uint32(size), MaxEntries: uint32(n)})
	if err != nil {
		return nil, fmt.Errorf("map %s of %d rows: %w", name, n, err)
	}
	if err := fillArray(m, content, size); err != nil {
		m.Close()
		return nil, fmt.Errorf("map %s: %w", name, err)
	}
	if err := m.Freeze(); err != nil {
		m.Close()
		return nil, fmt.Errorf("freeze map %s: %w", name, err)
	}
	if c.byHash == nil {
		c.byHash = map[[sha256.Size]byte]*table{}
	}
	t := &table{m: m, key: key, uses: 1}
	c.byHash[key] = t
	return t, nil
}

func (c *tableCache) put(t *table) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.uses--; t.uses == 0 {
		delete(c.byHash, t.key)
		t.m.Close()
	}
}

func (c *tableCache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, t := range c.byHash {
		t.m.Close()
		delete(c.byHash, k)
	}
}

// fillArray writes all rows of an array map.
func fillArray(m *ebpf.Map, content []byte, size int) error {
	for i := 0; i*size < len(content); i++ {
		if err := m.Put(uint32(i), content[i*size:(i+1)*size]); err != nil {
			return fmt.Errorf("row %d: %w", i, err)
		}
	}
	return nil
}
