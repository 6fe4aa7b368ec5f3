package holder

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ward/holder/child"
	"ward/holder/lifeline"
	"ward/holder/link"
)

// The holder runs in a process of its own, this test's program again, and starts
// that, under the names of wardd's processes: what they do the test tells them by
// lines of a file, which each start takes one of.

const patience = 20 * time.Second

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "test-holder":
			runtime.LockOSThread()
			os.Exit(runHolder(os.Args[2]))
		case "audit", "creator", "monitor":
			role(os.Args[1], os.Args[2])
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

func runHolder(dir string) int {
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		return 3
	}
	high, err := unix.FcntlInt(exe.Fd(), unix.F_DUPFD_CLOEXEC, 64)
	if err != nil {
		return 3
	}
	stop, life := make(chan struct{}), os.NewFile(lifeline.FD, "life line")
	go func() {
		life.Read(make([]byte, 1))
		close(stop)
	}()
	unix.CloseOnExec(link.ImageFD)
	unix.CloseOnExec(lifeline.FD)
	return Run(Config{Life: life, Stop: stop, Grace: time.Second, Upgrade: func() (*os.File, error) { return nil, os.ErrNotExist },
		Program: child.Program{Exe: os.NewFile(uintptr(high), "program"), Image: os.NewFile(link.ImageFD, "image"), Args: []string{dir},
			Within: func(_ bool, start func() error) error { return start() }}})
}

// say writes a line where the test reads it.
func say(dir, format string, args ...any) {
	f, err := os.OpenFile(filepath.Join(dir, "said"), os.O_WRONLY, 0)
	if err == nil {
		fmt.Fprintf(f, format+"\n", args...)
		f.Close()
	}
}

// role is what a process of wardd is here: it does what it is told, and waits
// for the end of its channel.
func role(name, dir string) {
	conn, err := link.Inherited(link.FirstFD, name)
	if err != nil {
		return
	}
	if ends, err := os.ReadFile(filepath.Join(dir, plain)); err == nil {
		plainRole(name, dir, string(ends), conn)
		return
	}
	again := len(os.Args) > 3
	switch {
	case name == "creator" && !again: // it has a child, and dies
		orphan := exec.Command("/bin/sleep", "1000")
		if err := orphan.Start(); err != nil {
			return
		}
		say(dir, "orphan %d", orphan.Process.Pid)
		<-fileAppears(filepath.Join(dir, "die"))
		return
	case name == "monitor" && !again: // it keeps things, names a process, and dies
		var stranger int
		text, _ := os.ReadFile(filepath.Join(dir, "stranger"))
		fmt.Sscan(string(text), &stranger)
		pidfd, err := unix.PidfdOpen(stranger, 0)
		if err != nil {
			say(dir, "no stranger: %v", err)
			return
		}
		for kind := range link.Kind(64) { // whatever one can say of a process
			if !slices.Contains([]link.Kind{link.Done, link.Fatal, link.Upgrade, link.Put, link.Bound, link.Ready}, kind) {
				conn.Tell(kind, fmt.Sprint(stranger), os.NewFile(uintptr(pidfd), "stranger"))
			}
		}
		// Its end of the channel outlives it.
		end, err := conn.File()
		if err != nil {
			return
		}
		left := exec.Command("/bin/sleep", "1000")
		if left.ExtraFiles = []*os.File{end}; left.Start() != nil {
			return
		}
		conn.Tell(link.Put, "a\x001")
		conn.Tell(link.Put, "b\x002", os.Stderr)
		return
	}
	for m := range conn.Messages() {
		switch {
		case name != "monitor":
		case m.Kind == link.Stop:
			conn.Tell(link.Done, "\x00")
			return
		default:
			if all, err := link.Unpack(m.Text); m.Kind == link.Many && err == nil {
				m.Text = strings.Join(all, ",")
			}
			say(dir, "monitor %d %q %d", m.Kind, m.Text, len(m.Files))
		}
		link.CloseAll(m.Files)
	}
}

// fileAppears is closed when there is a file.
func fileAppears(path string) <-chan struct{} {
	there := make(chan struct{})
	go func() {
		for tick := time.NewTicker(time.Millisecond); ; <-tick.C {
			if _, err := os.Stat(path); err == nil {
				close(there)
				return
			}
			if os.Getppid() == 1 { // whoever would make it was killed
				os.Exit(1)
			}
		}
	}()
	return there
}

// TestAttackForeignProcess: a monitor cannot make the holder kill or reap a
// process that is not its own child, whatever it says; the control is a process of
// a creator that died, which the holder kills at the end. The test shows, too, that a
// monitor that died is followed by one that is given what was kept, though another
// process has its end of the channel, and that a creator that died is told of.
func TestAttackForeignProcess(t *testing.T) {
	dir := t.TempDir()
	stranger := exec.Command("/bin/sleep", "1000")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- stranger.Wait() }()
	t.Cleanup(func() { stranger.Process.Kill() })
	if err := os.WriteFile(filepath.Join(dir, "stranger"), fmt.Append(nil, stranger.Process.Pid), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "said"), 0o600); err != nil {
		t.Fatal(err)
	}
	fifo, err := os.OpenFile(filepath.Join(dir, "said"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer fifo.Close()
	said := make(chan string)
	go func() {
		for lines := bufio.NewScanner(fifo); lines.Scan(); {
			said <- lines.Text()
		}
	}()
	var early []string // said by one process before what is awaited of another
	await := func(prefix string) string {
		t.Helper()
		if i := slices.IndexFunc(early, func(line string) bool { return strings.HasPrefix(line, prefix) }); i >= 0 {
			line := early[i]
			early = slices.Delete(early, i, i+1)
			return line
		}
		late := time.NewTimer(patience)
		defer late.Stop()
		for {
			select {
			case line := <-said:
				if strings.HasPrefix(line, prefix) {
					return line
				}
				early = append(early, line)
			case <-late.C:
				t.Fatalf("nobody says %q, but %q", prefix, early)
			}
		}
	}
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
	cmd := exec.Command(self, "test-holder", dir)
	cmd.ExtraFiles, cmd.Stderr = []*os.File{image, theirs}, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })

	var pid int
	fmt.Sscanf(await("orphan "), "orphan %d", &pid)
	orphan, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(orphan)
	if got, want := await("monitor"), fmt.Sprintf("monitor %d %q 0", link.Many, "a\x001"); got != want {
		t.Errorf("the next monitor is given %s, want %s", got, want)
	}
	if got, want := await("monitor"), fmt.Sprintf("monitor %d %q 1", link.Kept, "b\x002"); got != want {
		t.Errorf("the next monitor is given %s, want %s", got, want)
	}
	await(fmt.Sprintf("monitor %d", link.Whole))
	if err := os.WriteFile(filepath.Join(dir, "die"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	await(fmt.Sprintf("monitor %d \"creator\" 1", link.Renewed))

	ours.Close() // the end
	if err := cmd.Wait(); err != nil {
		t.Errorf("the holder: %v", err)
	}
	fds := []unix.PollFd{{Fd: int32(orphan), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 0); n != 1 || err != nil {
		t.Errorf("what the creator left is not killed: %d, %v", n, err)
		syscall.Kill(pid, syscall.SIGKILL)
	}
	select {
	case err := <-ended:
		t.Errorf("a process of somebody else has ended: %v", err)
	default:
	}
}
