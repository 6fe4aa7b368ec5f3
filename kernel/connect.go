package kernel

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"ward/abi"
)

// A Guard holds the processes of one cgroup to its Network. The programs are
// attached to the cgroup, which keeps them for its life: whatever becomes of
// the Guard, or of whoever made it, they stay.
//
// They judge sockets by the cgroup in which those were made (sk_cgrp_data), so
// sockets that are handed over have to be made there too.
type Guard struct {
	ring *ebpf.Map // records of what was refused
	seq  *ebpf.Map // how many there are, the lost ones included
}

// guardRing is the size of the ring for refused addresses, in bytes; 200 a record.
const guardRing = 16 << 10

// maxNetRules bounds the rules of one Network: each is some instructions.
const maxNetRules = 512

// NewGuard attaches to the cgroup what admits only what n lists. It must be
// done before a process is born in it.
func NewGuard(c *Cgroup, n *Network, domain abi.DomainID) (_ *Guard, err error) {
	if len(n.Connect)+len(n.Bind)+len(n.Sockets) > maxNetRules {
		return nil, fmt.Errorf("more than %d network addresses", maxNetRules)
	}
	g := &Guard{}
	var opened []*ebpf.Map
	defer func() {
		if err != nil {
			g.Close()
		}
		for _, m := range opened {
			m.Close()
		}
	}()
	if g.ring, err = ebpf.NewMap(&ebpf.MapSpec{Name: "ward_refused", Type: ebpf.RingBuf, MaxEntries: guardRing}); err != nil {
		return nil, fmt.Errorf("ring of refused addresses: %w", err)
	}
	if g.seq, err = ebpf.NewMap(&ebpf.MapSpec{Name: "ward_refused_n", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1}); err != nil {
		return nil, fmt.Errorf("count of refused addresses: %w", err)
	}
	receives := n.receives()
	m := guardMaps{seq: g.seq.FD(), ring: g.ring.FD(), peers: -1}
	if anyUDP(receives, true) {
		peers, err := ebpf.NewMap(&ebpf.MapSpec{Name: "ward_peers", Type: ebpf.LRUHash, KeySize: peerKey, ValueSize: 8, MaxEntries: maxPeers})
		if err != nil {
			return nil, fmt.Errorf("senders of datagrams: %w", err)
		}
		opened = append(opened, peers)
		m.peers = peers.FD()
	}
	bind := m
	bind.peers = -1 // who has sent is no address to bind
	type program struct {
		at  ebpf.AttachType
		typ ebpf.ProgramType
		ins asm.Instructions
	}
	const sock = ebpf.CGroupSockAddr
	programs := []program{
		{ebpf.AttachCGroupInet4Connect, sock, addressProgram(false, n.Connect, domain, abi.SocketConnect, m)},
		{ebpf.AttachCGroupInet6Connect, sock, addressProgram(true, n.Connect, domain, abi.SocketConnect, m)},
		{ebpf.AttachCGroupUDP4Sendmsg, sock, addressProgram(false, n.Connect, domain, abi.SocketSend, m)},
		{ebpf.AttachCGroupUDP6Sendmsg, sock, addressProgram(true, n.Connect, domain, abi.SocketSend, m)},
		{ebpf.AttachCGroupInet4Bind, sock, addressProgram(false, receives, domain, abi.SocketBind, bind)},
		{ebpf.AttachCGroupInet6Bind, sock, addressProgram(true, receives, domain, abi.SocketBind, bind)},
	}
	if len(n.Bind) > 0 { // else it has no listen(2)
		programs = append(programs, program{ebpf.AttachCGroupSockOps, ebpf.SockOps, listenProgram(receives, domain, bind)})
	}
	if len(n.Bind) > 0 || m.peers >= 0 {
		programs = append(programs, program{ebpf.AttachCGroupInetIngress, ebpf.CGroupSKB, ingressProgram(receives, m)})
	}
	if n.Messages && (m.peers >= 0 || anyUDP(n.Connect, true)) {
		programs = append(programs, program{ebpf.AttachCGroupInetEgress, ebpf.CGroupSKB, egressProgram()})
	}
	for _, p := range programs {
		if err := attachCgroup(c, p.at, p.typ, p.ins); err != nil {
			return nil, err
		}
	}
	return g, nil
}

func attachCgroup(c *Cgroup, at ebpf.AttachType, typ ebpf.ProgramType, ins asm.Instructions) error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "ward_net", Type: typ, AttachType: at, License: "GPL", Instructions: ins})
	if err != nil {
		if errors.Is(err, ebpf.ErrNotSupported) {
			return &UnsupportedError{"programs at cgroups (CONFIG_CGROUP_BPF)", "5.15"}
		}
		return fmt.Errorf("network program %v: %w", at, err)
	}
	defer p.Close()
	if err := attachProgram(int(c.dir.Fd()), p, at); err != nil {
		return fmt.Errorf("attach network program %v to %s: %w", at, c.Path, err)
	}
	return nil
}

// Ring returns a descriptor of the ring, as OpenRing takes it. The caller closes it.
func (g *Guard) Ring() (*os.File, error) {
	fd, err := unix.FcntlInt(uintptr(g.ring.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("ring of refused addresses: %w", err)
	}
	return os.NewFile(uintptr(fd), "ring of refused addresses"), nil
}

// Refused returns how many addresses were refused, those whose record was lost included.
func (g *Guard) Refused() (uint64, error) {
	var n uint64
	if err := g.seq.Lookup(uint32(0), &n); err != nil {
		return 0, fmt.Errorf("count of refused addresses: %w", err)
	}
	return n, nil
}

// Close gives up the descriptors; the programs stay.
func (g *Guard) Close() {
	for _, m := range []*ebpf.Map{g.ring, g.seq} {
		if m != nil {
			m.Close()
		}
	}
}
