package kernel

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Places for mounts are made without being opened: a start beside this one may copy the
// descriptor, and while any of a file that is open for writing lives the root cannot be
// made read-only (EBUSY, one of some 3,600 starts beside seven others).
func TestPlacesAreNotOpened(t *testing.T) {
	needRoot(t)
	top, err := newTmpfs(1<<20, 32)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(top)
	r := &rootTree{top: top}
	if err := unix.Mkdirat(top, "etc", 0o755); err != nil {
		t.Fatal(err)
	}
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	if _, err := unix.InotifyAddWatch(watch, fmt.Sprintf("/proc/self/fd/%d/etc", top), unix.IN_OPEN|unix.IN_CREATE); err != nil {
		t.Fatal(err)
	}
	events := func() (all []uint32) {
		b := make([]byte, 4096)
		n, err := unix.Read(watch, b)
		if err != nil {
			t.Fatal(err)
		}
		for b = b[:n]; len(b) >= unix.SizeofInotifyEvent; b = b[unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(b[12:])):] {
			all = append(all, binary.NativeEndian.Uint32(b[4:]))
		}
		return all
	}
	if err := r.place("/etc/file", false); err != nil {
		t.Fatal(err)
	}
	if got := events(); len(got) != 1 || got[0] != unix.IN_CREATE {
		t.Errorf("events %x, want that it was made (%x), and no more", got, unix.IN_CREATE)
	}
	fd, err := unix.Openat(top, "etc/file", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := events(); len(got) != 1 || got[0] != unix.IN_OPEN {
		t.Errorf("control: events %x, want that it was opened (%x)", got, unix.IN_OPEN)
	}
	if err := unix.MountSetattr(top, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != unix.EBUSY {
		t.Errorf("control: read-only, with a file that is open for writing: %v", err)
	}
	unix.Close(fd)
	if err := r.place("/etc/file", false); err != nil {
		t.Errorf("a place that is there: %v", err)
	}
	if err := unix.Symlinkat("file", top, "etc/link"); err != nil {
		t.Fatal(err)
	}
	if err := r.place("/etc/link", false); err == nil || !strings.Contains(err.Error(), "create /etc/link in the new root") {
		t.Errorf("a place that is a link: %v", err)
	}
	if err := unix.MountSetattr(top, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		t.Errorf("read-only: %v", err)
	}
}
