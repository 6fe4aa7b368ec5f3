package kernel

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
)

// idmapNamespace makes a user namespace that maps 0 to uid and gid, for an
// ID-mapped mount. No process stays in it: one is made, stopped before its
// first instruction, and killed when the namespace is open.
func idmapNamespace(uid, gid uint32) (*os.File, error) {
	runtime.LockOSThread() // the tracer is a thread
	defer runtime.UnlockOSThread()
	p, err := os.StartProcess("/proc/self/exe", []string{"idmap"}, &os.ProcAttr{Sys: &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(uid), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(gid), Size: 1}},
		Ptrace:      true,
		Pdeathsig:   syscall.SIGKILL,
	}})
	if err != nil {
		return nil, fmt.Errorf("user namespace for an ID-mapped mount: %w", err)
	}
	f, err := os.Open("/proc/" + strconv.Itoa(p.Pid) + "/ns/user")
	p.Kill()
	p.Wait()
	if err != nil {
		return nil, fmt.Errorf("user namespace for an ID-mapped mount: %w", err)
	}
	return f, nil
}
