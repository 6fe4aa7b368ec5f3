package kernel

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"ward/abi"
	"ward/filter"
)

// A programCache shares programs that judge the same: what a server answers to
// its clients, say, where the policy makes no difference between them. The
// kernel verifies each once, which takes most of the time of loading a route.
//
// Locking: it has a lock of its own, under which nothing is loaded.
type programCache struct {
	mu    sync.Mutex
	byKey map[programKey]*loaded
}

// A programKey tells programs apart: what they look up, and whose messages they judge.
type programKey struct {
	content [sha256.Size]byte
	sender  *Endpoint
}

// A loaded is a verified program and the tables that it shares.
type loaded struct {
	key     programKey
	uses    int           // guarded by programCache.mu
	ready   chan struct{} // closed when program and err are set
	err     error
	program *ebpf.Program
	tables  []*table
	buckets []string
}

// get returns the program for key, which load fills in if there is none yet.
func (c *programCache) get(key programKey, load func(*loaded) error) (*loaded, error) {
	c.mu.Lock()
	l := c.byKey[key]
	if l != nil {
		l.uses++
		c.mu.Unlock()
		<-l.ready
		return l, l.err
	}
	l = &loaded{key: key, uses: 1, ready: make(chan struct{})}
	if c.byKey == nil {
		c.byKey = map[programKey]*loaded{}
	}
	c.byKey[key] = l
	c.mu.Unlock()
	defer close(l.ready)
	l.err = load(l)
	return l, l.err
}

// put gives up one use. The last one closes the program, in get's failure, too.
func (c *programCache) put(l *loaded, tables *tableCache, buckets *bucketTable) {
	c.mu.Lock()
	l.uses--
	last := l.uses == 0
	if last {
		delete(c.byKey, l.key)
	}
	c.mu.Unlock()
	if !last {
		return
	}
	if l.program != nil {
		l.program.Close()
	}
	for _, t := range l.tables {
		tables.put(t)
	}
	buckets.give(l.buckets)
}

// loadProgram returns the program that judges what sender sends. It is to be
// given up also if there is an error.
func (f *Fabric) loadProgram(spec *filter.Spec, dir abi.Direction, sender *Endpoint) (*loaded, error) {
	p := &spec.Programs[dir]
	from := spec.Client
	if dir == abi.Reply {
		from = spec.Server
	}
	consts := map[int]uint64{filter.ConstDir: uint64(dir), filter.ConstMethods: uint64(p.NMethods),
		filter.ConstFrom: uint64(from), filter.ConstUses: p.Uses,
		filter.ConstWords: uint64(p.NWords), filter.ConstRates: uint64(p.NRates)}
	if f.cfg.AuditAll {
		consts[filter.ConstAudit] = 1
	}
	names, err := bucketNames(p, sender)
	if err != nil {
		return nil, err
	}
	content, err := contentOf(p, consts)
	if err != nil {
		return nil, err
	}
	return f.shared.get(programKey{content, sender}, func(l *loaded) error {
		maps := map[string]*ebpf.Map{"gates": f.gates, "calls": f.calls, "utf8": f.utf8,
			"page": sender.page, "ring": sender.ring, "counters": sender.counters}
		tables := []struct {
			name    string
			content []byte
			size    int
		}{{"methods", p.Methods, filter.MethodRow}, {"nodes", p.Nodes, filter.NodeRow}, {"fields", p.Fields, filter.FieldRow}, {"values", p.Values, 8}}
		if p.Effective() {
			maps["words"], maps["gatewords"], maps["buckets"] = f.words.words, f.gateWords.words, f.buckets.m
			if p.Objects() {
				maps["handles"] = f.handles.words
			}
			rates, err := f.takeBuckets(p, l, names)
			if err != nil {
				return err
			}
			tables = append(tables, struct {
				name    string
				content []byte
				size    int
			}{"rates", rates, filter.RateRow})
		}
		for _, t := range tables {
			tab, err := f.tables.get(t.name, t.content, t.size)
			if err != nil {
				return err
			}
			l.tables = append(l.tables, tab)
			maps[t.name] = tab.m
		}
		var err error
		l.program, err = f.object.load(p.Template(), consts, map[string]asm.Instructions{"decide": p.Decide, "check": p.Check}, maps)
		return err
	})
}

// contentOf is a hash of all that makes a program, but for the maps of its
// sender and its fabric.
func contentOf(p *filter.Program, consts map[int]uint64) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	for i := range filter.Constants {
		binary.Write(h, binary.LittleEndian, consts[i])
	}
	for _, part := range [][]byte{p.Methods, p.Nodes, p.Fields, p.Values} {
		binary.Write(h, binary.LittleEndian, uint64(len(part)))
		h.Write(part)
	}
	for i := range p.Rates {
		fmt.Fprintf(h, "%q %q %d %d %d\n", p.Rates[i].Sender, p.Rates[i].Bucket, p.Rates[i].Policy, p.Rates[i].Every, p.Rates[i].Burst)
	}
	for _, ins := range []asm.Instructions{p.Decide, p.Check} {
		if err := hashInstructions(h, ins); err != nil {
			return sum, err
		}
	}
	h.Sum(sum[:0])
	return sum, nil
}

// hashInstructions adds what ins does: the instructions, and where their jumps go.
func hashInstructions(h hash.Hash, ins asm.Instructions) error {
	binary.Write(h, binary.LittleEndian, uint64(len(ins)))
	for i := range ins {
		in := &ins[i]
		if in.IsLoadFromMap() {
			return errors.New("a generated function that reads a map")
		}
		fmt.Fprintf(h, "%d %d %d %d %d %q %q\n", in.OpCode, in.Dst, in.Src, in.Offset, in.Constant, in.Symbol(), in.Reference())
	}
	return nil
}

// takeBuckets finds the buckets of a program and returns its table of rates.
func (f *Fabric) takeBuckets(p *filter.Program, l *loaded, names []string) ([]byte, error) {
	rows, err := f.buckets.take(names)
	if err != nil {
		return nil, err
	}
	l.buckets = names
	var table []byte
	for i, row := range rows {
		table = p.Rates[i].AppendRow(table, row)
	}
	if len(table) == 0 {
		table = make([]byte, filter.RateRow)
	}
	return table, nil
}
