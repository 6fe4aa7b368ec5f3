package audit

import (
	"os"
	"path/filepath"
	"testing"

	"ward/abi"
	"ward/audit/event"
)

// An event that another monitor sends again, because it cannot know whether the one
// before had sent it, is recorded once: by this writer, by one that takes over from it,
// and by one that takes over from a writer that died before the lines were written. The
// control: other events are recorded as often as they come.
func TestToldOnce(t *testing.T) {
	at := event.Now()
	number := uint64(0)
	ended := func(d abi.DomainID, later uint64) event.Event {
		number++
		e := event.New(event.Ended)
		e.Endpoint, e.Domain, e.Time, e.Number = event.Once, d, at+later, number
		return e
	}
	times := func(all []Record, domain string) (n int) {
		for _, r := range find(all, EventEnded) {
			if r.Domain == domain {
				n++
			}
		}
		return n
	}
	plain := func(a *audited) {
		e := ended(2, 3)
		e.Endpoint = event.None
		a.send(e)
	}
	for _, lost := range []bool{false, true} {
		a := run(t)
		a.send(ended(0, 1))
		a.send(ended(0, 1))
		plain(a)
		a.conn.Close() // it writes one batch, or more
		if err := <-a.done; err != nil {
			t.Fatal(err)
		}
		if lost { // it had died before that
			if err := os.Remove(filepath.Join(a.dir, StateFile)); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(filepath.Join(a.dir, File), 0); err != nil {
				t.Fatal(err)
			}
		}
		b := runIn(t, a.dir, true)
		number = 1 << 40 // of another monitor
		b.send(ended(0, 1))
		b.send(ended(1, 2))
		b.send(ended(1, 2))
		plain(b)
		plain(b)
		all := b.finish()
		want := 3
		if lost {
			want = 2
		}
		if times(all, "client") != 1 || times(all, "server") != 1 || len(find(all, EventEnded)) != 2+want {
			t.Errorf("lost %v: %+v", lost, all)
		}
	}
}
