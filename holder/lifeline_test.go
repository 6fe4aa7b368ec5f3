package holder

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestReports(t *testing.T) {
	var b bytes.Buffer
	want := []Report{{Ready, 0, ""}, {Fatal, 1, "no such program"}, {Stopped, 1, ""}}
	for _, r := range want {
		if err := WriteReport(&b, r); err != nil {
			t.Fatal(err)
		}
	}
	WriteReport(&b, Report{Fatal, 0, strings.Repeat("x", 2*maxReport)})
	for _, w := range want {
		if got, err := ReadReport(&b); err != nil || got != w {
			t.Errorf("%+v, %v; want %+v", got, err, w)
		}
	}
	if got, err := ReadReport(&b); err != nil || len(got.Text) != maxReport {
		t.Errorf("a long text: %d bytes, %v", len(got.Text), err)
	}
	if _, err := ReadReport(&b); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	for _, bad := range []string{"\x09\x00\x00\x00", "\x01\x00\xff\xff", "\x01\x00\x05\x00ab", "\x01"} {
		if _, err := ReadReport(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// A sealed image cannot be changed, by whoever holds it; with any seal missing
// it is refused.
func TestSeal(t *testing.T) {
	f, err := Seal([]byte("image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := sealed(f); err != nil {
		t.Error(err)
	}
	if _, err := f.WriteAt([]byte("x"), 0); err == nil {
		t.Error("written after the seal")
	}
	if err := f.Truncate(1); err == nil {
		t.Error("cut after the seal")
	}
	for _, missing := range []int{unix.F_SEAL_WRITE, unix.F_SEAL_SHRINK, unix.F_SEAL_GROW, unix.F_SEAL_SEAL} {
		fd, err := unix.MemfdCreate("t", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		if err != nil {
			t.Fatal(err)
		}
		m := os.NewFile(uintptr(fd), "t")
		if _, err := unix.FcntlInt(m.Fd(), unix.F_ADD_SEALS, seals&^missing); err != nil {
			t.Fatal(err)
		}
		if sealed(m) == nil {
			t.Errorf("accepted without seal %#x", missing)
		}
		m.Close()
	}
}
