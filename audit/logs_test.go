package audit

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
)

// says has a process of a domain write something and end.
func says(t *testing.T, l *logs, domain string, life uint32, text string) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l.follow(domain, life, read)
	if _, err := write.WriteString(text); err != nil {
		t.Fatal(err)
	}
	write.Close()
	l.wait.Wait()
}

// TestLogsOfRestarts: what the processes of a domain write one after the other
// stays, within the bound, also over a new writer; a system that is started
// again puts it aside.
func TestLogsOfRestarts(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "daemon")
	if err := os.WriteFile(path, []byte("of another run\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	want := []byte{}
	l := &logs{dir: dir}
	for life := range uint32(6) {
		if life == 4 {
			l = &logs{dir: dir, again: true}
		}
		text := fmt.Sprintf("process %d crashed\n", life)
		says(t, l, "daemon", life, text)
		want = append(want, text...)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the log is %q, %v; want %q", got, err, want)
	}
	if got, err := os.ReadFile(path + ".1"); err != nil || string(got) != "of another run\n" {
		t.Errorf("the log before it is %q, %v", got, err)
	}
	for life := range uint32(6) {
		says(t, l, "daemon", 100+life, string(bytes.Repeat([]byte("x"), logSize/2)))
	}
	if st, err := os.Stat(path); err != nil || st.Size() > logSize {
		t.Errorf("the log: %v", err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 2 {
		t.Errorf("%d files", len(files))
	}
}

// ended has a child write something, and waits until its log is left.
func ended(t *testing.T, l *logs, name string, life uint32, text string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out := l.join(name) // as another follower, which sees the other one leave
	l.follow(name, life, r)
	if _, err := w.WriteString(text); err != nil {
		t.Fatal(err)
	}
	w.Close()
	for users := 2; users > 1; {
		l.mu.Lock()
		users = out.users
		l.mu.Unlock()
		runtime.Gosched()
	}
	l.leave(name, out)
}

// TestAttackLogs: a domain fills the disk by making children one after the other
// that write all they can. Of each template the logs of a few that ended are
// kept, over a new writer too. The control: those, and of children that
// live and other domains, are there.
func TestAttackLogs(t *testing.T) {
	dir := t.TempDir()
	l := &logs{dir: dir}
	flood := string(bytes.Repeat([]byte("x"), 32<<10)) // a pipe holds that
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	write.WriteString("alive\n")
	l.follow("worker#1", 1, read) // lives
	says(t, &logs{dir: dir}, "broker", 2, "making children\n")
	const made = 5 * endedLogs
	for i := range uint32(made) {
		if i == made/2 {
			l.follow("worker#1", 1, read) // asked again
			write.Close()
			l.wait.Wait()
			l = &logs{dir: dir, again: true}
			if read, write, err = os.Pipe(); err != nil {
				t.Fatal(err)
			}
			write.WriteString("alive\n")
			l.follow("worker#1", 1, read)
		}
		ended(t, l, fmt.Sprintf("worker#%d", 2+i), 100+i, flood)
	}
	var names []string
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		names = append(names, f.Name())
	}
	for _, kept := range []string{"broker", "worker#1", fmt.Sprintf("worker#%d", 1+made), fmt.Sprintf("worker#%d", 2+made-endedLogs)} {
		if !slices.Contains(names, kept) {
			t.Errorf("the log of %s is gone", kept)
		}
	}
	if len(files) != endedLogs+2 {
		t.Errorf("%d logs: %v", len(files), names)
	}
	write.Close()
	l.wait.Wait()
}

// TestFollowedIsBounded: a domain that makes children for ever makes the writer remember no
// more of them; the last ones it knows.
func TestFollowedIsBounded(t *testing.T) {
	null := func() *os.File {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	l := &logs{dir: t.TempDir()}
	for life := range uint32(maxFollowed + 100) {
		l.follow("worker", life, null())
		if life%64 == 0 {
			l.wait.Wait()
		}
	}
	l.wait.Wait()
	if len(l.followed) != maxFollowed || len(l.lives) != maxFollowed {
		t.Errorf("%d and %d are remembered, want %d", len(l.followed), len(l.lives), maxFollowed)
	}
	again := null()
	l.follow("worker", maxFollowed+99, again)
	if _, err := again.Stat(); err == nil {
		t.Error("what it is told of again is followed again")
	}
}
