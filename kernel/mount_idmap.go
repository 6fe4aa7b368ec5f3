package kernel

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// idmapName is what the process calls itself that a user namespace is taken from.
const idmapName = "ward-idmap"

// A process that was started as idmapName does nothing but wait for its end.
// It is this program, because the creator can execute no other; and it is not
// stopped by ptrace, because wardd gives that up.
func init() {
	if len(os.Args) == 1 && os.Args[0] == idmapName {
		os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}
}

// idmapNamespace makes a user namespace that maps 0 to uid and gid, for an
// ID-mapped mount. No process stays in it: one is made, and ended when the
// namespace is open.
func idmapNamespace(uid, gid uint32) (*os.File, error) {
	fail := func(err error) (*os.File, error) {
		return nil, fmt.Errorf("user namespace for an ID-mapped mount: %w", err)
	}
	wait, end, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	defer wait.Close()
	defer end.Close()
	p, err := os.StartProcess("/proc/self/exe", []string{idmapName}, &os.ProcAttr{Dir: "/", Env: []string{}, Files: []*os.File{wait}, Sys: &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(uid), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(gid), Size: 1}},
	}})
	if err != nil {
		return fail(err)
	}
	f, err := os.Open("/proc/" + strconv.Itoa(p.Pid) + "/ns/user")
	p.Kill()
	p.Wait()
	if err != nil {
		return fail(err)
	}
	return f, nil
}
