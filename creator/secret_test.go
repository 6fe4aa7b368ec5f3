package creator

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/image"
	"ward/kernel"
)

// TestLocked: a domain may lock what secret memory it may make takes, and no more
// than others beside it.
func TestLocked(t *testing.T) {
	page := uint64(os.Getpagesize())
	may := func(who ...bool) (list []image.Verdict) {
		for _, yes := range who {
			list = append(list, image.Verdict{Allow: yes, Policy: abi.NoPolicy})
		}
		return list
	}
	none := slices.Repeat(may(false), 2)
	img := &image.Image{Objects: []image.Object{
		{Name: "keys", Kind: image.ObjectSecret, Size: 1, Count: 4, Create: may(true, false), Read: none, Write: none},
		{Name: "tables", Kind: image.ObjectSecret, Size: 3*page + 1, Count: 2, Create: may(true, false), Read: none, Write: none},
		{Name: "frames", Kind: image.ObjectMemory, Size: 1 << 30, Count: 8, Create: may(true, true), Read: none, Write: none},
	}}
	for id, want := range []uint64{4*page + 2*4*page, 0, 0} {
		if got := locked(img, abi.DomainID(id)); got != kernel.DefaultLocked+want {
			t.Errorf("domain %d may lock %d bytes, want %d and what all may", id, got, want)
		}
	}
}

// TestLockedAtStart: a domain gets that limit, or it is said that it cannot have
// it: what it makes could not be mapped.
func TestLockedAtStart(t *testing.T) {
	w := newWorld(t, 0, image.Domain{Name: "keeper", Program: hostile, Args: []string{"idle"}}, image.Domain{Name: "hoarder", Program: hostile, Args: []string{"idle"}})
	yes, no := image.Verdict{Allow: true}, image.Verdict{Policy: abi.NoPolicy}
	none := []image.Verdict{no, no}
	w.img.Objects = []image.Object{
		{Name: "keys", Kind: image.ObjectSecret, Size: 4096, Count: 4, Domain: abi.NoDomain, Create: []image.Verdict{yes, no}, Read: none, Write: none},
		{Name: "tables", Kind: image.ObjectSecret, Size: image.MaxSecretSize, Count: image.MaxSecretCount, Domain: abi.NoDomain, Create: []image.Verdict{no, yes}, Read: none, Write: none},
	}
	for id, want := range []uint64{kernel.DefaultLocked + 4*uint64(os.Getpagesize()), kernel.DefaultLocked + image.MaxSecretSize*image.MaxSecretCount} {
		d, err := w.start(id)
		if err != nil {
			if id == 0 || !strings.Contains(err.Error(), "for the secret memory that it may make") {
				t.Errorf("domain %d: %v", id, err)
			}
			continue
		}
		limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", d.PID))
		if err != nil || !strings.Contains(string(limits), fmt.Sprint("Max locked memory         ", want, " ")) {
			t.Errorf("domain %d: %v; want %d of locked memory in\n%s", id, err, want, limits)
		}
	}
}

// TestLockedRaised: an image that lets a domain make more secret memory raises the limit of
// all its processes, and of no other domain; one that lets it make less lowers none.
func TestLockedRaised(t *testing.T) {
	w := newWorld(t, 0, image.Domain{Name: "keeper", Program: hostile, Args: []string{"forkstay", "3"}, Host: true}, image.Domain{Name: "other", Program: hostile, Args: []string{"idle"}})
	keeper, err := w.start(0)
	if err != nil {
		t.Fatal(err)
	}
	other := w.mustStart(1)
	var pids []int
	for end := time.Now().Add(20 * time.Second); len(pids) < 3; <-time.After(time.Millisecond) {
		lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", keeper.PID)) // by thread
		if err != nil || time.Now().After(end) {
			t.Fatalf("children %d, %v", pids, err)
		}
		pids = nil
		for _, list := range lists {
			text, _ := os.ReadFile(list) // an error: the thread has ended
			for _, word := range strings.Fields(string(text)) {
				pid, err := strconv.Atoi(word)
				if err != nil {
					t.Fatal(err)
				}
				pids = append(pids, pid)
			}
		}
	}
	pids = append(pids, keeper.PID)
	is := func(want uint64) {
		t.Helper()
		for _, pid := range append(pids, other.PID) {
			mine := want
			if pid == other.PID {
				mine = kernel.DefaultLocked
			}
			limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
			line := fmt.Sprintf("Max locked memory         %-20d %-20d bytes", mine, mine)
			if err != nil || !strings.Contains(string(limits), line) {
				t.Errorf("process %d: %v; want %q in\n%s", pid, err, line, limits)
			}
		}
	}
	is(kernel.DefaultLocked)
	yes, no := image.Verdict{Allow: true}, image.Verdict{Policy: abi.NoPolicy}
	keys := func(count uint32) func(*image.Image) {
		return func(img *image.Image) {
			for i := range img.Domains {
				img.Domains[i].Ring, img.Domains[i].Start = image.Ring{Level: 3, Name: "user"}, image.Verdict{Allow: true}
			}
			img.Policies = []image.Policy{{ID: "yes"}}
			img.Objects = []image.Object{{Name: "keys", Kind: image.ObjectSecret, Size: 4096, Count: count, Domain: abi.NoDomain, Create: []image.Verdict{yes, no}, Read: []image.Verdict{no, no}, Write: []image.Verdict{no, no}}}
		}
	}
	more := kernel.DefaultLocked + 4*uint64(os.Getpagesize())
	w.renew(keys(4))
	if ok, err := mayRaise(); !ok {
		is(kernel.DefaultLocked) // it was told, and the image is in force
		t.Skipf("needs CAP_SYS_RESOURCE to raise another's limit: %v", err)
	}
	is(more)
	w.renew(keys(2))
	is(more)
}

// mayRaise reports whether this process may raise limits of others.
func mayRaise() (bool, error) {
	head, data := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{}
	err := unix.Capget(&head, &data[0])
	return err == nil && data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0, err
}
