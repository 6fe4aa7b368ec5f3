package audit

import (
	"slices"
	"time"
)

// eventsWait bounds how long records wait for the events before them, which are there
// and need only be read.
const eventsWait = 100 * time.Millisecond

// upToDate adds to a batch all events that were sent before its records were written.
// The two come on different ways: who is at a gate is sent before anything passes there,
// but the record of that may be read first, and numbers of gates come again. Records that
// come meanwhile are of the next batch: of them nothing is known yet.
func (w *writer) upToDate(batch []item) []item {
	if !slices.ContainsFunc(batch, func(i item) bool { return i.record != nil }) {
		return batch
	}
	unseen, err := w.cfg.Events.Unread()
	if err != nil {
		return batch // it is closed: there are none
	}
	for i := range batch {
		unseen -= batch[i].size
	}
	var limit <-chan time.Time
	for unseen > 0 {
		if limit == nil {
			limit = time.After(eventsWait)
		}
		select {
		case i := <-w.in:
			if i.ring != nil {
				w.next = append(w.next, i)
				continue
			}
			batch, unseen = append(batch, i), unseen-i.size
			if i.eof {
				return batch
			}
		case <-limit:
			return batch
		}
	}
	return batch
}
