package kernel

import (
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// attachProgram attaches p to the cgroup behind a descriptor, beside whatever
// others attach there, above or below: all of them have to admit.
func attachProgram(cgroup int, p *ebpf.Program, at ebpf.AttachType) error {
	// What BPF_PROG_ATTACH takes of union bpf_attr (include/uapi/linux/bpf.h).
	attr := struct{ target, program, at, flags, replace uint32 }{uint32(cgroup), uint32(p.FD()), uint32(at), unix.BPF_F_ALLOW_MULTI, 0}
	if _, _, e := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_ATTACH, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr)); e != 0 {
		return e
	}
	return nil
}
