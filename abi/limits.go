package abi

// Limits of interfaces and of the filters made from them. They keep the
// verifier's work, the filter's 512 bytes of stack and its time bounded; the
// compiler refuses what exceeds them, and the image checker again.
const (
	MaxFields   = 64   // fields of one message type
	MaxDepth    = 8    // messages within messages: the body itself is 1
	MaxCaptures = 16   // parameters that the policy of one method looks at, per direction
	MaxWalk     = 1024 // fields on the wire of one message, nested ones and metadata included; a packed field is one
	MaxSteps    = 4096 // of one message: fields, elements of packed fields, and stretches of 64 bytes of strings
	MaxOneofs   = 16   // oneofs of one message type of which a member is required
)

// Bounds of what an interface leaves open. `ward check` shows where they apply.
const (
	DefaultMaxBytes = 4096 // of a string or bytes field
	DefaultMaxItems = 256  // of a repeated field
)
