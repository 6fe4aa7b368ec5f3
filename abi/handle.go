package abi

// HandleKind says what a handle stands for: ward.v1.Handle.Kind. It fits three bits.
type HandleKind uint8

const (
	HandleMemory HandleKind = 1

	// MaxHandleKind is the greatest that a HandleWord can hold.
	MaxHandleKind HandleKind = 7
)

// MaxHandles is the number of handles that one system may have at a time, of
// those that are offered or were admitted and not taken.
const MaxHandles = 1 << handleRows

// The number of a handle in a message: the row of the kernel's table, and above
// it the generation of the row, which is new for each offer and never 0.
const (
	handleRows  = 16
	generations = 1<<24 - 1
)

// HandleID composes the number of a handle.
func HandleID(row uint16, generation uint32) uint64 {
	return uint64(generation)<<handleRows | uint64(row)
}

// HandleRow returns the row in the number of a handle.
func HandleRow(id uint64) uint16 { return uint16(id) }

// HandleWord is what a filter knows of a handle beside its size: state (bits 0-1),
// kind (2-4), whether the receiver may write (5), direction of the message that
// may carry it (6), generation (8-31), and the incarnation of the gate that it
// is for (32-63). Filters change it by compare-and-swap only. Of a free row only
// the generation counts: that of its last handle.
type HandleWord uint64

// States of a HandleWord.
const (
	HandleFree     = 0
	HandleOffered  = 1
	HandleReserved = 2 // by a message that is being admitted: its filter changes it, and nobody else
	HandleAdmitted = 3

	// Layout of a HandleWord.
	HandleStates        = 3
	HandleKindAt        = 2
	HandleWriteAt       = 5
	HandleDirectionAt   = 6
	HandleGenerationAt  = 8
	HandleIncarnationAt = 32
	HandleGenerations   = generations
	HandleRowBits       = handleRows
)

// MakeHandleWord composes the word of a handle that is offered.
func MakeHandleWord(k HandleKind, write bool, d Direction, generation, incarnation uint32) HandleWord {
	w := HandleWord(HandleOffered) | HandleWord(k&MaxHandleKind)<<HandleKindAt | HandleWord(d&1)<<HandleDirectionAt |
		HandleWord(generation&generations)<<HandleGenerationAt | HandleWord(incarnation)<<HandleIncarnationAt
	if write {
		w |= 1 << HandleWriteAt
	}
	return w
}

func (w HandleWord) State() uint8        { return uint8(w & HandleStates) }
func (w HandleWord) Generation() uint32  { return uint32(w>>HandleGenerationAt) & generations }
func (w HandleWord) Incarnation() uint32 { return uint32(w >> HandleIncarnationAt) }

// Free is the word of the same row without a handle.
func (w HandleWord) Free() HandleWord { return w & (generations << HandleGenerationAt) }

// Next is the generation of the row's next handle.
func (w HandleWord) Next() uint32 { return w.Generation()%generations + 1 }
