// Package payload makes the smallest programs that run in a domain, so that a
// benchmark of starting measures the start and not what a runtime does first: a
// Go program touches some megabytes before its main, and pages that a virtual
// machine touches for the first time cost more than all the rest.
//
// Invariants: the programs are static, and make no system call that Ward's
// allow-list refuses.
package payload

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"runtime"
)

// A program is machine code by architecture.
type program map[string]struct {
	machine elf.Machine
	code    []byte
}

var exits = program{
	"amd64": {elf.EM_X86_64, []byte{0x31, 0xff, 0xb8, 0xe7, 0, 0, 0, 0x0f, 0x05}},                       // xor edi,edi; mov eax,231; syscall
	"arm64": {elf.EM_AARCH64, []byte{0, 0, 0x80, 0xd2, 0xc8, 0x0b, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4}}, // mov x0,0; mov x8,94; svc 0
}

// ppoll(NULL, 0, NULL, NULL, 0), again and again.
var idles = program{
	"amd64": {elf.EM_X86_64, []byte{
		0x31, 0xff, 0x31, 0xf6, 0x31, 0xd2, 0x45, 0x31, 0xd2, 0x45, 0x31, 0xc0, // xor edi,edi; xor esi,esi; xor edx,edx; xor r10d,r10d; xor r8d,r8d
		0xb8, 0x0f, 0x01, 0, 0, 0x0f, 0x05, 0xeb, 0xeb}}, // mov eax,271; syscall; jmp to the start
	"arm64": {elf.EM_AARCH64, []byte{
		0x00, 0, 0x80, 0xd2, 0x01, 0, 0x80, 0xd2, 0x02, 0, 0x80, 0xd2, 0x03, 0, 0x80, 0xd2, 0x04, 0, 0x80, 0xd2, // mov x0…x4,0
		0x28, 0x09, 0x80, 0xd2, 0x01, 0, 0, 0xd4, 0xf9, 0xff, 0xff, 0x17}}, // mov x8,73; svc 0; b to the start
}

// Exit returns a static executable that ends at once, with status 0.
func Exit() ([]byte, error) { return exits.executable() }

// Idle returns a static executable that waits until a signal ends it. As the
// first process of its PID namespace only SIGKILL does.
func Idle() ([]byte, error) { return idles.executable() }

func (p program) executable() ([]byte, error) {
	c, ok := p[runtime.GOARCH]
	if !ok {
		return nil, fmt.Errorf("payload: no program for %s", runtime.GOARCH)
	}
	const base, head, prog = 0x400000, 64, 56
	size := uint64(head + prog + len(c.code))
	h := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(c.machine), Version: 1, Entry: base + head + prog,
		Phoff: head, Ehsize: head, Phentsize: prog, Phnum: 1,
	}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	segment := elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: base, Paddr: base,
		Filesz: size, Memsz: size, Align: 0x10000,
	}
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, h); err != nil {
		return nil, err
	}
	if err := binary.Write(&b, binary.LittleEndian, segment); err != nil {
		return nil, err
	}
	b.Write(c.code)
	return b.Bytes(), nil
}
