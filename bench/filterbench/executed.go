package filterbench

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cilium/ebpf/asm"
	"google.golang.org/protobuf/encoding/protowire"

	"ward/filter"
)

// median returns the middle and the least of some times.
func median(ns []int64) (mid, least int64) {
	slices.Sort(ns)
	return ns[len(ns)/2], ns[0]
}

// walkOf is the state that the walk leaves for the decision: the captures of
// the top-level integers of body, in the order of the method's parameters.
func walkOf(spec *filter.Spec, body []byte) []byte {
	values := map[uint32]uint64{}
	for b := body; len(b) > 0; {
		num, typ, n := protowire.ConsumeTag(b)
		if typ == protowire.VarintType {
			values[uint32(num)], _ = protowire.ConsumeVarint(b[n:])
		}
		b = b[n+protowire.ConsumeFieldValue(num, typ, b[n:]):]
	}
	walk := make([]byte, filter.WalkSize)
	for i, p := range spec.Programs[0].Params[0] {
		binary.LittleEndian.PutUint64(walk[filter.WalkCaptures+8*i:], values[p.Path[0]])
	}
	return walk
}

// executed steps through a decision over integers and returns how many
// instructions it executes. Loading a 64-bit constant counts as one.
func executed(ins asm.Instructions, walk []byte) (int, error) {
	at := map[string]int{}
	for i := range ins {
		if s := ins[i].Symbol(); s != "" {
			at[s] = i
		}
	}
	const walkAddress = 1 << 32 // what a pointer to the walk looks like here
	var r [11]uint64
	r[2] = walkAddress
	for pc, n := 0, 1; pc < len(ins); n++ {
		in := &ins[pc]
		pc++
		src := uint64(in.Constant)
		if in.OpCode.Source() == asm.RegSource {
			src = r[in.Src]
		}
		switch class := in.OpCode.Class(); {
		case in.OpCode == asm.LoadImmOp(asm.DWord):
			r[in.Dst] = uint64(in.Constant)
		case class == asm.ALU64Class && in.OpCode.ALUOp() == asm.Mov:
			r[in.Dst] = src
		case class == asm.ALU64Class && in.OpCode.ALUOp() == asm.And:
			r[in.Dst] &= src
		case class == asm.ALU64Class && in.OpCode.ALUOp() == asm.Or:
			r[in.Dst] |= src
		case class == asm.LdXClass:
			addr := r[in.Src] - walkAddress + uint64(int64(in.Offset))
			if addr+8 > uint64(len(walk)) {
				return 0, fmt.Errorf("instruction %d reads outside the walk", pc-1)
			}
			v := binary.LittleEndian.Uint64(walk[addr:])
			if size := in.OpCode.Size().Sizeof(); size < 8 {
				v &= 1<<(8*size) - 1
			}
			r[in.Dst] = v
		case class == asm.JumpClass && in.OpCode.JumpOp() == asm.Exit:
			return n, nil
		case class == asm.JumpClass:
			taken, err := jumps(in.OpCode.JumpOp(), r[in.Dst], src)
			if err != nil {
				return 0, err
			}
			if taken {
				pc = at[in.Reference()]
			}
		default:
			return 0, fmt.Errorf("instruction %d, %v, is not one of a decision over integers", pc-1, in)
		}
	}
	return 0, fmt.Errorf("the decision does not end")
}

// jumps reports whether a jump is taken.
func jumps(op asm.JumpOp, a, b uint64) (bool, error) {
	switch op {
	case asm.Ja:
		return true, nil
	case asm.JEq:
		return a == b, nil
	case asm.JNE:
		return a != b, nil
	case asm.JSet:
		return a&b != 0, nil
	case asm.JGE:
		return a >= b, nil
	case asm.JSLT:
		return int64(a) < int64(b), nil
	case asm.JSLE:
		return int64(a) <= int64(b), nil
	case asm.JSGT:
		return int64(a) > int64(b), nil
	case asm.JSGE:
		return int64(a) >= int64(b), nil
	}
	return false, fmt.Errorf("jump %v", op)
}
