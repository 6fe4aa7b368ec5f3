package audit

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"

	"ward/abi"
	"ward/audit/event"
	"ward/holder/link"
)

// TestFullBatchWaitsForEvents: records fill a batch, and the event that says in whose name they were
// sent, which was told before, is behind them: all of them say so.
func TestFullBatchWaitsForEvents(t *testing.T) {
	ours, theirs, err := link.Pair("events")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := link.New(theirs)
	if err == nil {
		err = conn.PeekAll()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cfg := Config{Image: system(), RunDir: t.TempDir(), Events: conn}
	file, book, err := openFiles(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	defer book.file.Close()
	var out bytes.Buffer
	w := &writer{cfg: cfg, t: newTranslator(cfg.Image), known: &known{dir: cfg.RunDir, children: places{path: filepath.Join(cfg.RunDir, ChildrenFile)}, gates: places{path: filepath.Join(cfg.RunDir, GatesFile)}},
		lines: lineWriter{out: &out, now: time.Now}, book: book, file: file, rings: map[uint32]*ring{}, short: map[*ring]struct{}{}, budgets: map[string]*budget{},
		in: make(chan item, batchMax+8)}
	defer w.known.close()
	told := event.New(event.Gate)
	told.Gate, told.Allow, told.From, told.To, told.Text, told.List = 5, true, 0, 1, "in the name of", []uint32{1, 0, 0, 0, 0}
	if err := ours.Try(told.Encode()); err != nil {
		t.Fatal(err)
	}
	ours.Close()
	r := &ring{label: "client", gaps: gaps{next: 1}, denials: w.budget("client"), turned: make(chan struct{}, 1)}
	for n := range batchMax {
		k := call(uint64(n+1), "one", abi.ReasonPermit)
		k.Gate = told.Gate
		w.in <- item{ring: r, record: &k, time: k.Time}
	}
	w.readEvents() // to the end: the event stands behind the records
	w.loop()
	if n, want := bytes.Count(out.Bytes(), []byte(`"detail":"in the name of"`)), batchMax+1; n != want { // and the gate's own
		t.Errorf("%d of %d records say in whose name", n, want)
	}
}
