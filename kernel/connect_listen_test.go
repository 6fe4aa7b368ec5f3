package kernel

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"ward/abi"
)

// connecting says where the process connects that TestConnects is.
const connecting = "WARD_TEST_CONNECTING"

// TestConnects is no test: started by TestListenTellsOthers in a cgroup it makes a
// connection, and a socket listen that is not bound.
func TestConnects(t *testing.T) {
	to := os.Getenv(connecting)
	if to == "" {
		t.Skip("needs to be started by TestListenTellsOthers")
	}
	c, err := net.Dial("tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
}

// TestListenTellsOthers: a program of the host's for socket operations, at a cgroup
// above, is told of a domain's sockets what it would be told without the program
// that records listening. The control: that one is there.
func TestListenTellsOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: programs at cgroups")
	}
	tree, err := NewCgroupTree(fmt.Sprintf("ward-listen-%d-%d", os.Getpid(), cgroupTrees.Add(1)))
	if err != nil {
		t.Skipf("needs cgroup v2: %v", err)
	}
	defer func() {
		if err := tree.Remove(); err != nil {
			t.Error(err)
		}
	}()
	c, err := tree.New(CgroupPlace{Name: "domain"}, CgroupLimits{}, CgroupLimits{})
	if err != nil {
		t.Fatal(err)
	}
	told, err := ebpf.NewMap(&ebpf.MapSpec{Name: "ward_test_told", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer told.Close()
	above, err := os.Open(tree.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer above.Close()
	if err := attachCgroup(&Cgroup{Path: tree.Path(), dir: above}, ebpf.AttachCGroupSockOps, ebpf.SockOps, stateProgram(told)); err != nil {
		t.Fatal(err)
	}
	network := &Network{Bind: []NetRule{{Prefix: netip.MustParsePrefix("127.0.0.1/32"), Port: 1}}, Connect: []NetRule{{}}}
	g, err := NewGuard(c, network, abi.DomainID(1))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestConnects$")
	cmd.Env = append(os.Environ(), connecting+"="+l.Addr().String())
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(c.dir.Fd())}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s%v", out, err)
	}
	if n, err := g.Refused(); err != nil || n != 1 {
		t.Errorf("control: of a socket that listens and is not bound there are %d records, %v", n, err)
	}
	var was uint32
	if err := told.Lookup(uint32(0), &was); err != nil || was != stateSynSent {
		t.Errorf("it is told that the connection was in state %#x before, want %d (%v)", was, stateSynSent, err)
	}
}

// States of TCP (include/net/tcp_states.h).
const stateEstablished, stateSynSent = 1, 2

// stateProgram notes in which state a connection was before it was established.
func stateProgram(told *ebpf.Map) asm.Instructions {
	const connects, changes, wantsChanges, arg1 = 3, 10, 1 << 2, 8 // BPF_SOCK_OPS_TCP_CONNECT_CB, _STATE_CB, _STATE_CB_FLAG
	return asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1), asm.LoadMem(asm.R1, asm.R6, opsOp, asm.Word), asm.JEq.Imm(asm.R1, connects, "ask"), asm.JNE.Imm(asm.R1, changes, "out"),
		asm.LoadMem(asm.R1, asm.R6, arg1, asm.Word), asm.JNE.Imm(asm.R1, stateEstablished, "out"),
		asm.LoadMem(asm.R1, asm.R6, opsReply, asm.Word), asm.StoreMem(asm.RFP, -8, asm.R1, asm.Word),
		asm.Mov.Imm(asm.R1, 0), asm.StoreMem(asm.RFP, -4, asm.R1, asm.Word),
		asm.LoadMapPtr(asm.R1, told.FD()), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
		asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, -8), asm.Mov.Imm(asm.R4, 0), asm.FnMapUpdateElem.Call(), asm.Ja.Label("out"),
		asm.Mov.Reg(asm.R1, asm.R6).WithSymbol("ask"), asm.Mov.Imm(asm.R2, wantsChanges), asm.FnSockOpsCbFlagsSet.Call(),
		asm.Mov.Imm(asm.R0, 1).WithSymbol("out"), asm.Return(),
	}
}
