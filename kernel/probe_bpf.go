package kernel

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// haveSenderCgroup reports whether socket filters may call bpf_get_current_cgroup_id.
var haveSenderCgroup = sync.OnceValue(func() error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, License: "GPL",
		Instructions: asm.Instructions{asm.FnGetCurrentCgroupId.Call(), asm.Mov.Imm(asm.R0, 0), asm.Return()}})
	if err == nil {
		return p.Close()
	}
	if errors.Is(err, unix.EINVAL) {
		return &UnsupportedError{"the sender's cgroup in socket filters", "6.18"}
	}
	return fmt.Errorf("probe the sender's cgroup in socket filters: %w", err)
})
