package kernel

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"ward/abi"
)

// returns makes a socket filter that returns n: 0 drops, -1 takes all.
func returns(t *testing.T, n int32) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, n), asm.Return()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// TestAttackReplaceFilter: root puts a program in the place of a gate's filter
// that lets everything pass, or takes the filter away: what the policy denies is
// denied after that as before. The control does it on a pair that is not locked,
// where what was dropped passes, and on one that is, where it does not.
func TestAttackReplaceFilter(t *testing.T) {
	g := newGateTest(t, echoImage(), FabricConfig{Gates: 4, Programs: 4})
	drop, pass := returns(t, 0), returns(t, -1)
	attacks := map[string]func(fd int) error{
		"replace": func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, pass.FD()) },
		"take away": func(fd int) error {
			return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_BPF, 0)
		},
		"unlock and take away": func(fd int) error {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 0); err != nil {
				return err
			}
			return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_BPF, 0)
		},
	}
	slot := uint16(0)
	for name, attack := range attacks {
		t.Run(name, func(t *testing.T) {
			g.t = t
			for _, locked := range []bool{false, true} {
				raw := newRawPair(t)
				if err := unix.SetsockoptInt(raw[1], unix.SOL_SOCKET, unix.SO_ATTACH_BPF, drop.FD()); err != nil {
					t.Fatal(err)
				}
				if locked {
					if err := unix.SetsockoptInt(raw[1], unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1); err != nil {
						t.Fatal(err)
					}
				}
				err := attack(raw[1])
				if _, err := unix.Write(raw[0], []byte("x")); err != nil {
					t.Fatal(err)
				}
				n, _ := unix.Read(raw[1], make([]byte, 8))
				if passed := n == 1; passed == locked || (err == nil) == locked {
					t.Fatalf("control: locked %v: %v, a message passed %v", locked, err, passed)
				}
			}
			for _, end := range []*os.File{g.gate.Client, g.gate.Server} {
				if err := attack(int(end.Fd())); err != unix.EPERM {
					t.Errorf("%v, want EPERM", err)
				}
			}
			slot += 2
			g.mustDeny(abi.Request, message(abi.Header{Kind: abi.KindCall, Slot: slot, Gen: 1}, vint(1, 1025)), abi.ReasonDefault)
			g.mustDeny(abi.Reply, message(abi.Header{Kind: abi.KindReply, Slot: slot, Gen: 1}, nil), abi.ReasonNoCall)
			good := message(abi.Header{Kind: abi.KindCall, Slot: slot + 1, Gen: 1}, vint(1, 5))
			if got := g.send(abi.Request, good); !bytes.Equal(got, good) {
				t.Errorf("what the policy permits no longer passes: %x", got)
			}
		})
	}
}

// TestAttackWritePage: a domain forges its verdicts by each way to write a map of
// which it has a descriptor. The control is a map of the same kind that is not
// frozen, where each way works.
func TestAttackWritePage(t *testing.T) {
	g := newGateTest(t, echoImage(), FabricConfig{Gates: 4, Programs: 4})
	plain, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1024, Flags: unix.BPF_F_MMAPABLE})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if page := g.client.page; plain.Type() != page.Type() || plain.KeySize() != page.KeySize() || plain.ValueSize() != page.ValueSize() {
		t.Fatalf("control: the page is a map of another kind, %v", page)
	}
	for name, write := range map[string]func(m *ebpf.Map) error{
		"map for writing": func(m *ebpf.Map) error {
			b, err := unix.Mmap(m.FD(), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			if err != nil {
				return err
			}
			b[0] = 1
			return unix.Munmap(b)
		},
		"update by bpf(2)":            func(m *ebpf.Map) error { return m.Put(uint32(0), uint64(1)) },
		"update in a batch by bpf(2)": func(m *ebpf.Map) error { _, err := m.BatchUpdate([]uint32{0}, []uint64{1}, nil); return err },
	} {
		if err := write(plain); err != nil {
			t.Errorf("control: %s: %v", name, err)
		}
		before := g.word(abi.Request, 0)
		if err := write(g.client.page); !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) {
			t.Errorf("%s: %v, want EPERM or EACCES", name, err)
		}
		if got := g.word(abi.Request, 0); got != before {
			t.Errorf("%s: the word %x became %x", name, before, got)
		}
	}
}
