package kernel

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"ward/abi"
)

// A Runner judges packets without sending them: the stub of one end of a gate,
// and the program behind it, run by BPF_PROG_TEST_RUN. It is for measurements
// and tests; what it admits changes the call table, pages, rings and counters
// as a sent message would.
type Runner struct{ stub *ebpf.Program }

// Runner makes the runner of what one side of the gate sends.
func (g *Gate) Runner(dir abi.Direction) (*Runner, error) {
	g.r.f.mu.Lock()
	defer g.r.f.mu.Unlock()
	stub, err := g.stub(g.r.spec, dir)
	if err != nil {
		return nil, fmt.Errorf("runner: %w", err)
	}
	return &Runner{stub}, nil
}

// ethernetHeader is what a test run of a socket filter takes off the front of
// its data. Source: net/bpf/test_run.c.
const ethernetHeader = 14

// Run judges packet repeat times, and returns what the filter returned (0
// drop, -1 all, n the first n bytes) and the time of one run in the kernel.
func (r *Runner) Run(packet []byte, repeat int) (int32, time.Duration, error) {
	data := make([]byte, ethernetHeader+len(packet))
	copy(data[ethernetHeader:], packet)
	var ns time.Duration
	var ret uint32
	var err error
	if repeat <= 1 {
		ret, err = r.stub.Run(&ebpf.RunOptions{Data: data})
	} else {
		ret, ns, err = r.stub.Benchmark(data, repeat, nil)
	}
	if errors.Is(err, unix.EINTR) {
		return r.Run(packet, repeat)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("test run: %w", err)
	}
	return int32(ret), ns, nil
}

// Close gives the program up.
func (r *Runner) Close() error { return r.stub.Close() }
