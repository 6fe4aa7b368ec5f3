package filter

import (
	_ "embed"
	"encoding/binary"

	"ward/image"
)

// Object is bpf/gate.bpf.c, compiled by bpf/build.sh: the programs gate, stub
// and status, and the functions decide and check, whose bodies are replaced.
//
//go:embed bpf/gate.bpf.o
var Object []byte

// Limits of the filter; bpf/ward.h mirrors them.
const (
	Levels    = 9                // the message and eight nested in each other
	Captures  = 16               // parameters that the policy of one method looks at, each way
	MaxFields = 1024             // fields walked in one message
	Words     = image.MaxRead    // of state that the policy of one method looks at, each way
	Rates     = image.MaxEffects // of the policies of one method, each way
	MaxSteps  = 4096             // fields, elements of packed fields and 64-byte stretches of strings in one message
	MaxNodes  = 1024             // messages in a program's trees
	MaxRows   = 1 << 15
	MaxOneofs = 16 // oneofs of a message of which one member is required
	// MaxDecide bounds the instructions of a generated function: jumps reach 32,767 far.
	MaxDecide = 30000
	// denseRows is the greatest field number up to which a message's rows are indexed by number.
	denseRows = 255
	// maxChildren is the number of fields of one message: they are bits of a word.
	maxChildren = 64
	// maxSet is the number of values of one sparse set that the filter searches.
	maxSet = 1 << 15
)

// Sizes of table rows, bytes. They are those of the structs in bpf/ward.h.
const (
	MethodRow = 48
	NodeRow   = 32
	FieldRow  = 128
)

// Placeholders: numbers of the constants K(n) in gate.bpf.c.
const (
	ConstDir = iota
	ConstMethods
	ConstFrom
	ConstTo
	ConstRoute
	ConstAudit
	ConstIndex
	ConstIncarnation
	ConstCgroup
	ConstUses
	ConstWords
	ConstRates
	Constants // how many there are

	// ConstMagic is the upper half of a placeholder's value; the lower is its number.
	ConstMagic = 0x57415244
)

// Operations of the program status, in struct status.
const (
	StatusBump   = 0
	StatusRevoke = 1
	StatusReset  = 2
)

// Flags of a method row.
const (
	methodClientStream = 1
	methodServerStream = 2
	methodPermit       = 4
	methodTerse        = 8
	methodSilent       = 16
	methodPost         = 32

	// methodHandle is the shift of 1 + the capture slot of a handle's id.
	methodHandle = 8
	// methodMetadata is the shift of the node of the method's metadata section.
	methodMetadata = 16
)

// Flags of a field row.
const (
	flagRepeated = 1
	flagBits     = 2
	flagSet      = 4
	flagClass    = 8
	flagNonzero  = 16
)

// What a program's tables ask of its code: the constant ConstUses. The
// verifier does not look at what no bit asks for, which is most of its work;
// a message that would need it is denied.
const (
	usesClass = 1 << iota
	usesSet
	usesSparse
	usesText1
	usesText2
	usesText4
	usesText8
	usesTests
	usesLikes
	usesHandle
	usesPost
)

// Offsets in struct walk that generated code reads.
const (
	walkCap     = 72 + 16*Levels
	walkVal     = walkCap + 8*Captures
	walkMethod  = walkVal + 24
	walkPresent = walkVal + 32
	walkCheck   = walkPresent + 16
	// In struct effects, which takes the place of what the walk no longer needs.
	walkWord   = 0
	walkMask   = 8 * Words
	walkNext   = walkMask + 8
	walkRates  = walkMask + 48
	walkTarget = walkRates + 8
)

// WalkCaptures is the offset of the captures in struct walk, WalkSize a size
// that holds all that generated code reads.
const (
	WalkCaptures = walkCap
	WalkSize     = 512
)

// Nodes that every program has.
const (
	nodeMetadata = 0
	nodeStatus   = 1
	nodeCode     = 2
)

type methodRow struct {
	node, flags uint32
	ncap, nstrs uint32
	strings     [8]uint8
	words       []uint32
	rate        uint32
}

func (m *methodRow) append(b []byte) []byte {
	b = le32(b, m.node, m.flags, m.ncap, m.nstrs)
	b = append(b, m.strings[:]...)
	for i := range Words {
		w := uint32(0)
		if i < len(m.words) {
			w = m.words[i]
		}
		b = le32(b, w)
	}
	return le32(b, uint32(len(m.words)), m.rate)
}

type nodeRow struct {
	base, count, dense, noneof uint32
	required                   uint64
	oneof                      uint32
}

func (n *nodeRow) append(b []byte) []byte {
	b = le32(b, n.base, n.count, n.dense, n.noneof)
	b = le64(b, n.required)
	return le32(b, n.oneof, 0)
}

type fieldRow struct {
	number                uint32
	typ, wire, flags, bit uint8
	cap, count            uint8
	check                 uint16
	child                 uint32
	bias, lo, hi, bits    uint64
	set, nset             uint32
	oneof                 uint64
	minLen, maxLen        uint32
	minItems, maxItems    uint32
	minRunes, maxRunes    uint32
	class                 [2]uint64
	nth, nthFlag          uint32
	tests, likes          uint32
	tcap, lcap            uint8
}

func (f *fieldRow) append(b []byte) []byte {
	b = le32(b, f.number)
	b = append(b, f.typ, f.wire, f.flags, f.bit, f.cap, f.count)
	b = binary.LittleEndian.AppendUint16(b, f.check)
	b = le32(b, f.child)
	b = le64(b, f.bias, f.lo, f.hi, f.bits)
	b = le32(b, f.set, f.nset)
	b = le64(b, f.oneof)
	b = le32(b, f.minLen, f.maxLen, f.minItems, f.maxItems, f.minRunes, f.maxRunes)
	b = le64(b, f.class[0], f.class[1])
	b = le32(b, f.nth, f.nthFlag, f.tests, f.likes)
	return append(b, f.tcap, f.lcap, 0, 0, 0, 0, 0, 0)
}

func le32(b []byte, vs ...uint32) []byte {
	for _, v := range vs {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

func le64(b []byte, vs ...uint64) []byte {
	for _, v := range vs {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}
