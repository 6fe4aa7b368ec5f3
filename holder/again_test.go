package holder

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ward/audit/event"
	"ward/holder/child"
	"ward/holder/lifeline"
	"ward/holder/link"
)

// What the holder does with a process that dies again and again. It is told by
// the holder itself, in what it gives the audit writer.

// plain is a file of the test's directory, with the name of a process that ends
// before it is ready, whenever it is started; the others do nothing but say that they
// are there, and the audit writer what it is given.
const plain = "plain"

// plainRole is what a process does where there is that file.
func plainRole(name, dir, ends string, conn *link.Conn) {
	if name == ends {
		os.Exit(3)
	}
	say(dir, "%s %d", name, os.Getpid())
	for buf := make([]byte, max(event.MaxEvent, link.MaxMessage)); ; {
		n, files, err := conn.Recv(buf, link.MaxFiles)
		if err != nil {
			return
		}
		link.CloseAll(files)
		if e, err := event.Decode(buf[:n]); name == "audit" && err == nil && e.Kind == event.Notice {
			say(dir, "notice %s", e.Text)
		}
		if name == "monitor" && link.Kind(buf[0]) == link.Stop {
			conn.Tell(link.Done, "\x00")
			return
		}
	}
}

// A plainHolder is a holder of such processes.
type plainHolder struct {
	*testing.T
	cmd     *exec.Cmd
	life    *os.File
	said    *os.File
	lines   chan string
	unread  []string // said by one before what is awaited of another
	notices []string // of the holder
}

func startPlain(t *testing.T, ends string) *plainHolder {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, plain), []byte(ends), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "said"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := &plainHolder{T: t, lines: make(chan string)}
	var err error
	if h.said, err = os.OpenFile(filepath.Join(dir, "said"), os.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(h.lines)
		for lines := bufio.NewScanner(h.said); lines.Scan() && lines.Text() != "end"; {
			h.lines <- lines.Text()
		}
	}()
	image, err := link.Seal([]byte("image"))
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	ours, theirs, err := lifeline.New()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h.life = ours
	h.cmd = exec.Command(self, "test-holder", dir)
	h.cmd.ExtraFiles, h.cmd.Stderr = []*os.File{image, theirs}, os.Stderr
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.cmd.Process.Kill() })
	return h
}

// await waits for a line with a prefix, and returns what comes after it.
func (h *plainHolder) await(prefix string) string {
	h.Helper()
	if i := slices.IndexFunc(h.unread, func(line string) bool { return strings.HasPrefix(line, prefix) }); i >= 0 {
		rest := h.unread[i][len(prefix):]
		h.unread = slices.Delete(h.unread, i, i+1)
		return rest
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		select {
		case line := <-h.lines:
			h.note(line)
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				return rest
			}
			h.unread = append(h.unread, line)
		case <-late.C:
			h.Fatalf("nobody says %q, but %q", prefix, h.notices)
		}
	}
}

func (h *plainHolder) note(line string) {
	if text, ok := strings.CutPrefix(line, "notice "); ok {
		h.notices = append(h.notices, text)
	}
}

// ends waits for the end of the holder, and returns why it was, if it says so.
func (h *plainHolder) ends() (why string) {
	h.Helper()
	ended := make(chan error, 1)
	go func() {
		ended <- h.cmd.Wait()
		fmt.Fprintln(h.said, "end")
	}()
	for line := range h.lines {
		h.note(line)
	}
	h.said.Close()
	<-ended
	defer h.life.Close()
	for {
		r, err := lifeline.Read(h.life)
		switch {
		case err != nil:
			h.Fatalf("what the holder said last is missing: %v", err)
		case r.Kind == lifeline.Fatal:
			why = r.Text
		case r.Kind == lifeline.Stopped:
			return why
		}
	}
}

// planned are the times at which the holder said that it starts a process again.
func (h *plainHolder) planned(name, how string) (when []string) {
	for _, n := range h.notices {
		if rest, ok := strings.CutPrefix(n, fmt.Sprintf("the %s has ended (%s): it is started again ", name, how)); ok {
			rest, _, _ = strings.Cut(rest, ";")
			when = append(when, rest)
		}
	}
	return when
}

// TestCrashLoop: a process that ends before it is ready, whenever it is started, is
// started again at once three times, then later and later, and at last not at all:
// the system stops and says so. A slow machine may begin that row anew: what counts is its end.
func TestCrashLoop(t *testing.T) {
	for _, name := range []string{"monitor", "creator"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := startPlain(t, name)
			if why := h.ends(); why != fmt.Sprintf("the %s has ended %d times in a row (exit status 3), each time within %v of its start or before it served, so the system stops", name, child.Faults+1, child.Steady) {
				t.Errorf("the system stops: %s", why)
			}
			if h.cmd.ProcessState.ExitCode() != 1 {
				t.Errorf("the holder: %v", h.cmd.ProcessState)
			}
			want := []string{"at once", "at once", "at once", "in 10ms", "in 20ms", "in 40ms", "in 80ms", "in 160ms"}
			for len(want) < child.Faults {
				want = append(want, "in 250ms")
			}
			got := h.planned(name, "exit status 3")
			if got = got[max(0, len(got)-len(want)):]; !slices.Equal(got, want) {
				t.Errorf("it was started again\n%q, want\n%q", got, want)
			}
		})
	}
}

// TestKilledAgain: a process that is killed as soon as it is there, again and again, is
// started again at once each time, more often than what ends by itself is started
// at all. The control is TestCrashLoop.
func TestKilledAgain(t *testing.T) {
	const times = child.Faults + 5
	h := startPlain(t, "nobody")
	for _, name := range []string{"monitor", "creator"} {
		for range times {
			var pid int
			if _, err := fmt.Sscan(h.await(name+" "), &pid); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	h.await("monitor ")
	h.await("creator ")
	if err := unix.Shutdown(int(h.life.Fd()), unix.SHUT_WR); err != nil { // as if whoever started it had ended
		t.Fatal(err)
	}
	if why := h.ends(); why != "" {
		t.Errorf("the system stops: %s", why)
	}
	for _, name := range []string{"monitor", "creator"} {
		got := h.planned(name, "signal: killed")
		if len(got) != times || slices.ContainsFunc(got, func(when string) bool { return when != "at once" }) {
			t.Errorf("killed %d times, the %s was started again %q", times, name, got)
		}
	}
}
