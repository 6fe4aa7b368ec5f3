package monitor

import (
	"fmt"
	"os"
	"testing"

	"ward/holder/link"
)

// TestManyOrphans: the holder tells the ends of all processes that have ended before it
// reads again, and the monitor keeps several things of each. So neither may wait for the other
// to read: were what the holder says not read while the monitor keeps something, as many
// children of a creator that has died could stop both by ending at once.
func TestManyOrphans(t *testing.T) {
	holder, monitor := linked(t)

	const ends, each = 1000, 10 // far more than a channel has room for
	heard, stopped := make(chan int, ends), make(chan struct{})
	go monitor.Listen(Listener{
		Stop: func() { close(stopped) },
		Orphan: func(e Ended) {
			for i := range each {
				if err := monitor.Put(fmt.Sprintf("%d of %d", i, e.PID), nil); err != nil {
					t.Errorf("the monitor cannot keep: %v", err)
					break
				}
			}
			heard <- e.PID
		},
	})
	for i := range ends {
		if err := holder.Tell(link.Orphan, fmt.Sprintf("%d 0", i)); err != nil {
			t.Fatalf("end %d cannot be told: %v", i, err)
		}
	}
	for range ends * each {
		if _, _, files, err := holder.Hear(); err != nil {
			t.Fatal(err)
		} else {
			link.CloseAll(files)
		}
	}
	for i := range ends {
		if got := <-heard; got != i {
			t.Fatalf("end %d came as the one before %d", got, i)
		}
	}
	holder.Close()
	<-stopped
}

// TestHeardAfterItsEnd: what the holder said last is acted on, then it is taken to have ended.
func TestHeardAfterItsEnd(t *testing.T) {
	holder, monitor := linked(t)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	read.Close()
	if err := holder.Tell(link.Renewed, "nobody", write); err != nil { // nobody takes its file
		t.Fatal(err)
	}
	write.Close()
	if err := holder.Tell(link.Orphan, "7 0"); err != nil {
		t.Fatal(err)
	}
	holder.Close()
	var all []string
	monitor.Listen(Listener{Stop: func() { all = append(all, "stop") }, Orphan: func(e Ended) { all = append(all, fmt.Sprint(e.PID)) }})
	if fmt.Sprint(all) != "[7 stop]" {
		t.Errorf("heard: %v", all)
	}
}

// linked are both ends of the channel of holder and monitor.
func linked(t *testing.T) (holder *link.Conn, monitor HolderLink) {
	t.Helper()
	ours, theirs, err := link.Pair("holder")
	if err != nil {
		t.Fatal(err)
	}
	if holder, err = link.New(theirs); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		holder.Close()
		ours.Close()
	})
	return holder, HolderLink{Conn: ours}
}
