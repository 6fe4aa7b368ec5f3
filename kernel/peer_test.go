package kernel

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const peerUID, peerGroup = 65534, 4242

// peerStage tells this program, started anew, what it is in these tests.
const peerStage = "WARD_TEST_PEER"

// listenPeer makes a listening socket that everybody may connect to.
func listenPeer(t *testing.T) (fd int, path string) {
	t.Helper()
	needRoot(t)
	dir, err := os.MkdirTemp("", "ward-peer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path = filepath.Join(dir, "socket")
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{dir: 0o755, path: 0o777} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Listen(fd, 8); err != nil {
		t.Fatal(err)
	}
	return fd, path
}

// stage starts this program anew, as a user if uid is not 0.
func stage(t *testing.T, what string, uid uint32, flags uintptr, args ...string) (*exec.Cmd, io.WriteCloser, *bufio.Reader) {
	t.Helper()
	// The program may lie where the user cannot reach it; an open descriptor can be executed.
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	cmd := exec.Command("/proc/self/fd/3", append([]string{"-test.run=^TestPeerStage$", "-test.v=false"}, args...)...)
	cmd.ExtraFiles = []*os.File{self}
	cmd.Env = append(os.Environ(), peerStage+"="+what)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Credential: &syscall.Credential{Uid: uid, Gid: uid, Groups: []uint32{peerGroup}}}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	return cmd, in, bufio.NewReader(out)
}

// TestPeerStage is what the other tests of this file start; by itself it does nothing.
func TestPeerStage(t *testing.T) {
	args := strings.Fields(os.Getenv(peerStage))
	if len(args) == 0 {
		return
	}
	switch args[0] {
	case "connect": // PATH: and wait for the end of the input
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0)
		if err == nil {
			err = unix.Connect(fd, &unix.SockaddrUnix{Name: args[1]})
		}
		fmt.Println("connected", err)
		io.Copy(io.Discard, os.Stdin)
	case "idle":
		fmt.Println("idle")
		io.Copy(io.Discard, os.Stdin)
	case "reuse":
		reusePID(t)
	}
}

// TestPeerOf: who connected is who the kernel says, whatever became of it.
func TestPeerOf(t *testing.T) {
	listener, path := listenPeer(t)
	cmd, in, out := stage(t, "connect "+path, peerUID, 0)
	if line, err := out.ReadString('\n'); line != "connected <nil>\n" {
		t.Fatalf("%q, %v", line, err)
	}
	conn, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(conn)
	p, err := PeerOf(conn)
	if err != nil {
		t.Fatal(err)
	}
	if p.UID != peerUID || p.GID != peerUID || int(p.PID) != cmd.Process.Pid || !slices.Equal(p.Groups, []uint32{peerGroup}) {
		t.Errorf("%+v", p)
	}
	if p.Pidfd != nil {
		defer p.Pidfd.Close()
		if err := unix.PidfdSendSignal(int(p.Pidfd.Fd()), 0, nil, 0); err != nil {
			t.Errorf("the pidfd of a process that lives: %v", err)
		}
	}
	in.Close()
	cmd.Wait()
	if p.Pidfd != nil {
		if err := unix.PidfdSendSignal(int(p.Pidfd.Fd()), 0, nil, 0); err != unix.ESRCH {
			t.Errorf("the pidfd of a process that has ended: %v, want ESRCH", err)
		}
	}
}

// TestAttackReusedPID: a client that dies before it is asked about, and whose
// PID belongs to another process by then. The control: by its number it would
// be taken for that one.
func TestAttackReusedPID(t *testing.T) {
	needRoot(t)
	if _, err := os.Stat(lastPID); err != nil {
		t.Skip("needs CONFIG_CHECKPOINT_RESTORE, to choose the next PID")
	}
	// In a PID namespace of its own: nobody else takes the number.
	cmd, in, out := stage(t, "reuse", 0, unix.CLONE_NEWPID)
	in.Close()
	said, err := io.ReadAll(out)
	if err := cmd.Wait(); err != nil || !strings.Contains(string(said), "reused\n") {
		t.Errorf("%v: %s", err, said)
	}
	if err != nil {
		t.Error(err)
	}
	t.Logf("%s", said)
}

const lastPID = "/proc/sys/kernel/ns_last_pid"

// reusePID runs as the first process of a PID namespace.
func reusePID(t *testing.T) {
	listener, path := listenPeer(t)
	for range 50 { // threads of this program may take the number
		client, in, out := stage(t, "connect "+path, peerUID, 0)
		if line, err := out.ReadString('\n'); line != "connected <nil>\n" {
			t.Fatalf("%q, %v", line, err)
		}
		pid := client.Process.Pid
		in.Close()
		client.Wait()
		if err := os.WriteFile(lastPID, []byte(strconv.Itoa(pid-1)), 0); err != nil {
			t.Fatal(err)
		}
		other, in, _ := stage(t, "idle", 0, 0)
		conn, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		if other.Process.Pid != pid {
			unix.Close(conn)
			in.Close()
			continue
		}
		byNumber, err := unix.PidfdOpen(pid, 0)
		if err != nil || unix.PidfdSendSignal(byNumber, 0, nil, 0) != nil {
			t.Fatalf("control: the number names nobody: %v", err)
		}
		p, err := PeerOf(conn)
		if err == nil && (p.UID != peerUID || p.GID != peerUID || !slices.Equal(p.Groups, []uint32{peerGroup})) {
			t.Errorf("taken for another: %+v", p)
		}
		if p.Pidfd != nil {
			if err := unix.PidfdSendSignal(int(p.Pidfd.Fd()), 0, nil, 0); err != unix.ESRCH {
				t.Errorf("the descriptor names a living process: %v", err)
			}
		}
		fmt.Printf("peer %+v, %v\nreused\n", p, err)
		return
	}
	t.Fatal("the number was not used again")
}
