package creator

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"ward/kernel"
)

// TestOwnerEndsMeanwhile: a process that ends while it is looked whose it is is nobody's, and
// harmless, and no reason to refuse it: then the creator could not be told what runs, and would
// be given up with all domains. The control: one that lives, and is another's.
func TestOwnerEndsMeanwhile(t *testing.T) {
	if _, single := kernel.SingleUser(); single {
		t.Skip("needs root: else all is one user's")
	}
	child := exec.Command("/bin/sleep", "3600")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(child.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	pidfd := os.NewFile(uintptr(fd), "pidfd")
	defer pidfd.Close()
	status, err := os.Open(fmt.Sprintf("/proc/%d/status", child.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer status.Close()
	opened := fmt.Sprintf("/proc/self/fd/%d", status.Fd())
	if err := checkStatus(pidfd, 12345, opened); !errors.Is(err, errStranger) {
		t.Errorf("another's: %v", err)
	}
	child.Process.Kill()
	child.Wait()
	if err := checkStatus(pidfd, 12345, opened); err != nil {
		t.Errorf("it has ended since its status was opened: %v", err)
	}
	if err := checkStatus(pidfd, 12345, "/proc/self/status"); err != nil {
		t.Errorf("it has ended, and its number is another's: %v", err)
	}
}
