package creator

import (
	"context"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/image"
)

// TestAdoptTellsTheRest: of a domain that a creator takes over it tells what the one
// before did not come to tell, and no more; the control: who says nothing of what was
// told is told nothing of before.
func TestAdoptTellsTheRest(t *testing.T) {
	needController(t, "pids")
	before := newWorld(t, 0, image.Domain{Name: "few", Program: hostile, Args: []string{"forkstay", "60"}, Host: true, Quota: image.Quota{Processes: 30}})
	l, err := before.start(0)
	if err != nil {
		t.Fatal(err)
	}
	if h := <-before.client.Hits(); h.Count == 0 { // and it tries no more
		t.Fatalf("%+v", h)
	}
	// adopted is how many refused processes another creator tells, of the same cgroups.
	adopted := func(counted ...Counted) (n uint64) {
		t.Helper()
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		c := &creator{fd: pair[1], img: before.img, cfg: Config{UIDBase: testUIDs}, running: map[abi.DomainID]*running{}, family: image.NewFamily(before.img)}
		if c.events, err = newEvents(c.fd); err != nil {
			t.Fatal(err)
		}
		defer c.events.close()
		if c.tree, err = openTree(before.cgroup); err != nil {
			t.Fatal(err)
		}
		client := NewClient(os.NewFile(uintptr(pair[0]), "monitor"))
		served := make(chan error)
		go func() {
			m, files, err := receive(c.fd)
			if err == nil {
				_, err = c.dispatch(m, files)
				closeFiles(files)
			}
			unix.Close(pair[1])
			served <- err
		}()
		if err := client.Adopt(context.Background(), 0, l.PID, l.Pidfd, counted...); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		for h := range client.Hits() {
			if h.Domain != 0 || h.Limit != LimitProcesses || h.Number == 0 {
				t.Errorf("%+v", h)
			}
			n += h.Count
		}
		return n
	}
	all := adopted(Counted{})
	if all == 0 {
		t.Fatal("nothing was refused")
	}
	for _, c := range []struct {
		counted []Counted
		want    uint64
	}{
		{nil, 0}, {[]Counted{{Processes: all}}, 0}, {[]Counted{{Processes: all - 1, Memory: 7}}, 1}, {[]Counted{{Processes: all + 5}}, 0},
		{[]Counted{{Processes: 1 << processBits}}, 0}, {[]Counted{{Memory: 1 << (64 - processBits)}}, 0},
	} {
		if got := adopted(c.counted...); got != c.want {
			t.Errorf("%+v of %d: %d are told, want %d", c.counted, all, got, c.want)
		}
	}
}

// What is counted arrives as it was said.
func TestCounted(t *testing.T) {
	for _, n := range []Counted{{}, {1, 2}, {1<<processBits - 1, 1<<(64-processBits) - 1}} {
		var m message
		n.into(&m)
		if got := countedOf(&m); got == nil || *got != n {
			t.Errorf("%+v became %+v", n, got)
		}
	}
	if countedOf(&message{}) != nil {
		t.Error("nothing was said, and counts")
	}
}
