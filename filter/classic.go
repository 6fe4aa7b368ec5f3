package filter

import (
	"fmt"
	"math/bits"

	"golang.org/x/net/bpf"

	"ward/abi"
	"ward/image"
)

// Classic filters are what an ordinary user may put on a socket. They see the
// bytes of a packet and its length, and have neither maps nor helpers: they
// know no call table, write no verdict and no record, and cannot walk a body.
// What they let pass is a message of a kind, method and size that this
// direction of the route has; the rest is the receiver's library's to check.

// MaxClassic is the longest classic program, in instructions (BPF_MAXINSNS,
// include/uapi/linux/bpf_common.h).
const MaxClassic = 4096

// classicKinds are all kinds, in the order in which they are tried.
var classicKinds = []abi.Kind{abi.KindCall, abi.KindReply, abi.KindError, abi.KindStreamItem, abi.KindStreamEnd, abi.KindCancel, abi.KindCredit}

// Memory of a classic program.
const (
	classicPayload = iota // bytes after the header
	classicFlags          // 0, or with a metadata section
)

// Classic makes the classic program of one direction of a route. An interface
// with more methods than fit a program is an error.
//
// Preconditions: img passes its Check; route is an index of Image.Routes.
func Classic(img *image.Image, route uint32, dir abi.Direction) ([]bpf.Instruction, error) {
	r := &img.Routes[route]
	p := classicHeader(dir)
	for i := range img.Interfaces[r.Interface].Methods {
		block := classicMethod(img, r, uint32(i), dir)
		if len(block) == 0 {
			continue
		}
		p = append(p, bpf.LoadAbsolute{Off: 4, Size: 4},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: bits.ReverseBytes32(uint32(i)), SkipTrue: uint8(len(block))})
		p = append(p, block...)
	}
	p = append(p, classicDrop)
	if len(p) > MaxClassic {
		return nil, fmt.Errorf("filter: %s has too many methods for a classic filter (%d instructions, the limit is %d): split it",
			img.Interfaces[r.Interface].Name, len(p), MaxClassic)
	}
	return p, nil
}

var (
	classicDrop = bpf.RetConstant{Val: 0}
	classicPass = bpf.RetConstant{Val: 0xffffffff}
)

// classicHeader checks what is the same for all methods, and remembers the rest.
func classicHeader(dir abi.Direction) []bpf.Instruction {
	var p []bpf.Instruction
	must := func(cond bpf.JumpTest, v uint32) {
		p = append(p, bpf.JumpIf{Cond: cond, Val: v, SkipTrue: 1}, classicDrop)
	}
	load := func(off uint32, size int) { p = append(p, bpf.LoadAbsolute{Off: off, Size: size}) }
	p = append(p, bpf.LoadExtension{Num: bpf.ExtLen})
	must(bpf.JumpGreaterOrEqual, abi.HeaderSize)
	p = append(p, bpf.ALUOpConstant{Op: bpf.ALUOpSub, Val: abi.HeaderSize}, bpf.StoreScratch{Src: bpf.RegA, N: classicPayload})
	load(0, 1)
	must(bpf.JumpEqual, abi.Version)
	load(2, 2) // as a big-endian number, like all that classic programs load
	p = append(p, bpf.StoreScratch{Src: bpf.RegA, N: classicFlags})
	p = append(p, bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(bits.ReverseBytes16(uint16(abi.FlagMetadata))), SkipTrue: 1}, classicDrop)
	// The length, little endian, is that of the packet.
	load(15, 1)
	for _, off := range []uint32{14, 13, 12} {
		p = append(p, bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 8}, bpf.TAX{}, bpf.LoadAbsolute{Off: off, Size: 1}, bpf.ALUOpX{Op: bpf.ALUOpOr})
	}
	p = append(p, bpf.TAX{}, bpf.LoadScratch{Dst: bpf.RegA, N: classicPayload}, bpf.JumpIfX{Cond: bpf.JumpEqual, SkipTrue: 1}, classicDrop)
	load(9, 1)
	must(bpf.JumpEqual, 0)
	load(8, 1)
	must(bpf.JumpLessThan, abi.Slots)
	if dir == abi.Reply {
		for _, off := range []uint32{16, 20} {
			load(off, 4)
			must(bpf.JumpEqual, 0)
		}
	}
	return p
}

// classicMethod checks kind and size of the messages of one method, and returns
// in any case. It is empty if there are none.
func classicMethod(img *image.Image, r *image.Route, method uint32, dir abi.Direction) []bpf.Instruction {
	short := Terse(r.Methods[method].Reply, Atoms{User: -1})
	var kinds []bpf.Instruction
	for _, k := range classicKinds {
		plain, section, ok := img.Payload(r, method, dir, k, short)
		if !ok {
			continue
		}
		size := []bpf.Instruction{
			bpf.LoadScratch{Dst: bpf.RegA, N: classicFlags},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 3},
			bpf.LoadScratch{Dst: bpf.RegA, N: classicPayload},
			bpf.JumpIf{Cond: bpf.JumpLessOrEqual, Val: plain, SkipTrue: 3},
			classicDrop,
		}
		if section > 0 {
			size = append(size, bpf.LoadScratch{Dst: bpf.RegA, N: classicPayload}, bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: section, SkipTrue: 1}, classicPass, classicDrop)
		} else {
			size = append(size, classicDrop, classicDrop, classicPass)
		}
		kinds = append(kinds, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(k), SkipTrue: uint8(len(size))})
		kinds = append(kinds, size...)
	}
	if len(kinds) == 0 {
		return nil
	}
	return append(append([]bpf.Instruction{bpf.LoadAbsolute{Off: 1, Size: 1}}, kinds...), classicDrop)
}
