package audit

import (
	"testing"

	"ward/abi"
	"ward/audit/event"
	"ward/holder/link"
)

// TestEventsComeBeforeRecords: a record is not written before the events that were sent
// before it, whichever of the two is read first; records that come meanwhile wait for the
// next batch, in their order. The control: a batch without records waits for nothing.
func TestEventsComeBeforeRecords(t *testing.T) {
	for _, seen := range []int{0, 1, 3} {
		ours, theirs, err := link.Pair("events")
		if err != nil {
			t.Fatal(err)
		}
		defer ours.Close()
		conn, err := link.New(theirs)
		if err == nil {
			err = conn.PeekAll()
		}
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		w := &writer{cfg: Config{Events: conn}, in: make(chan item, 16)}
		for n := range 3 {
			e := event.New(event.Gate)
			e.Gate, e.Text = uint32(n), "in the name of"[:n]
			if err := ours.Try(e.Encode()); err != nil {
				t.Fatal(err)
			}
		}
		go w.readEvents()
		var batch []item
		for range seen {
			batch = append(batch, <-w.in)
		}
		if got := w.upToDate(batch); len(got) != seen {
			t.Errorf("without records: %d items, want %d", len(got), seen)
		}
		r := &ring{}
		batch = append(batch, item{ring: r, record: &abi.Record{Seq: 1}})
		w.in <- item{ring: r, record: &abi.Record{Seq: 2}}
		w.in <- item{ring: r}
		batch = w.upToDate(batch)
		events := 0
		for _, i := range batch {
			if i.event != nil && i.event.Gate == uint32(events) {
				events++
			}
		}
		if events != 3 || len(batch) != 4 {
			t.Errorf("%d events of 3 in a batch of %d", events, len(batch))
		}
		for len(w.in) > 0 { // they were not met
			w.next = append(w.next, <-w.in)
		}
		if len(w.next) != 2 || w.next[0].record == nil || w.next[0].record.Seq != 2 || w.next[1].record != nil {
			t.Errorf("later ones are not in their order: %+v", w.next)
		}
	}
}
