package creator

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ward/kernel"
)

// errStranger: the process of a pidfd is not one of the domain that it is said to be.
var errStranger = errors.New("the process is not the domain's")

// checkOwner reports a pidfd whose process does not run as uid. What is adopted
// will be signalled with the creator's rights, so a monitor that is taken over
// must not name any process of the host. One that has ended is nobody's, and harmless.
func checkOwner(pidfd *os.File, uid uint32) error {
	if _, single := kernel.SingleUser(); single {
		return nil // there is one user, and no right beyond its own
	}
	pid, err := procField(fmt.Sprintf("/proc/self/fdinfo/%d", pidfd.Fd()), "Pid:")
	if err != nil {
		return err
	}
	if strings.HasPrefix(pid, "-") {
		return nil
	}
	return checkStatus(pidfd, uid, "/proc/"+pid+"/status")
}

// checkStatus looks at who its process is by the file status of that in /proc.
func checkStatus(pidfd *os.File, uid uint32, status string) error {
	of, err := procField(status, "Uid:")
	if errors.Is(err, fs.ErrNotExist) {
		// It has ended; or it is not to be seen from here: another PID namespace, or
		// /proc with hidepid and gid, and a creator without CAP_SYS_PTRACE.
		return checkHidden(pidfd, uid)
	}
	if err == nil && of == strconv.FormatUint(uint64(uid), 10) || hasEnded(pidfd) { // meanwhile: then this says nothing of it
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: by %s it has user ID %s instead of %d", errStranger, status, of, uid)
}

// checkHidden is checkOwner of a process that /proc does not show: the kernel
// tells whose it is by the pidfd, since Linux 6.13 (PIDFD_GET_INFO).
func checkHidden(pidfd *os.File, uid uint32) error {
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_CREDS}
	err := unix.IoctlPidfdInfo(int(pidfd.Fd()), &info)
	switch {
	case hasEnded(pidfd):
		return nil
	case err != nil || info.Mask&unix.PIDFD_INFO_CREDS == 0:
		return fmt.Errorf("%w: whose it is cannot be seen from here (/proc with hidepid before Linux 6.13, or another PID namespace)", errStranger)
	case info.Ruid != uid || info.Euid != uid || info.Suid != uid:
		return fmt.Errorf("%w: process %d has user ID %d instead of %d", errStranger, info.Pid, info.Ruid, uid)
	}
	return nil
}

// procField returns the first word after key in a file of proc.
func procField(path, key string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		if words := strings.Fields(in.Text()); len(words) > 1 && words[0] == key {
			return words[1], nil
		}
	}
	return "", fmt.Errorf("%s has no %s: not a process", path, key)
}
