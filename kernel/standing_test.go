package kernel

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// onAnotherThread runs f on a thread that is not the first one of the process, and
// ends with f, with all that waits for it.
func onAnotherThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			onAnotherThread(f)
			return
		}
		f()
	}()
	<-done
}

// What the kernel keeps for a thread that was refused to write is found, whatever the
// thread is called; another thread of the process has nothing. The control: before
// it comes there is nothing.
func TestFileSizeRefused(t *testing.T) {
	onAnotherThread(func() {
		tid := unix.Gettid()
		var set unix.Sigset_t
		set.Val[0] = fileSizeSignal
		if err := unix.PthreadSigmask(unix.SIG_BLOCK, &set, nil); err != nil {
			t.Error(err)
			return
		}
		for _, name := range []string{"plain", ") R 1 2", "(", "a b) S"} {
			if err := os.WriteFile("/proc/thread-self/comm", []byte(name), 0); err != nil {
				t.Error(err)
			}
			if refused, err := FileSizeRefused(os.Getpid(), tid); err != nil || refused {
				t.Errorf("control, %q: %v, %v", name, refused, err)
			}
		}
		if err := unix.Tgkill(os.Getpid(), tid, unix.SIGXFSZ); err != nil {
			t.Error(err)
		}
		for _, name := range []string{"plain", ") R 1 2", "(", "a b) S"} {
			if err := os.WriteFile("/proc/thread-self/comm", []byte(name), 0); err != nil {
				t.Error(err)
			}
			if refused, err := FileSizeRefused(os.Getpid(), tid); err != nil || !refused {
				t.Errorf("%q: %v, %v", name, refused, err)
			}
		}
		if tids, err := Threads(os.Getpid()); err != nil || !slices.Contains(tids, tid) || len(tids) < 2 {
			t.Errorf("threads %v without %d, %v", tids, tid, err)
		}
	})
	if refused, err := FileSizeRefused(os.Getpid(), os.Getpid()); err != nil || refused {
		t.Errorf("another thread: %v, %v", refused, err)
	}
	if _, err := FileSizeRefused(os.Getpid(), 1<<30); err == nil {
		t.Error("a thread that is not there")
	}
}

// OpenFiles is exact, since the one more that is missed is that which is refused.
func TestOpenFiles(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer out.Close()
	other := exec.Command("/proc/self/exe", "-test.run", "^TestOpenFilesOfAnother$")
	other.Env, other.Stdin = append(os.Environ(), openFilesEnv+"=1"), in
	said, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer other.Wait()
	defer out.Close()
	var want uint64
	if _, err := fmt.Fscan(said, &want); err != nil {
		t.Fatal(err)
	}
	if n, err := OpenFiles(other.Process.Pid); err != nil || n != want {
		t.Errorf("%d, %v, want %d", n, err, want)
	}
	if _, err := OpenFiles(1 << 30); err == nil {
		t.Error("a process that is not there")
	}
}

const openFilesEnv = "WARD_TEST_OPEN_FILES"

// TestOpenFilesOfAnother says how many descriptors it has open, and waits until its input ends.
func TestOpenFilesOfAnother(t *testing.T) {
	if os.Getenv(openFilesEnv) == "" {
		return // it is run by TestOpenFiles
	}
	for range 20 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	entries, err := os.ReadDir("/proc/self/fd") // one of which is that of the directory
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(len(entries) - 1)
	io.Copy(io.Discard, os.Stdin)
}

// All processes of a cgroup are listed, however many there are.
func TestProcessesOfCgroup(t *testing.T) {
	for _, n := range []int{0, 1, 300, 3000} {
		dir := t.TempDir()
		var want []int
		var text strings.Builder
		for i := range n {
			want = append(want, 100000+i)
			fmt.Fprintln(&text, 100000+i)
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(text.String()+"0\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := (&Cgroup{Path: dir}).Processes(); err != nil || !slices.Equal(got, want) {
			t.Errorf("%d of %d, %v", len(got), n, err)
		}
	}
}
