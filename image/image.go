package image

import "ward/abi"

// An Image is a compiled system. Indexes are positions in its slices.
type Image struct {
	Name       string   // of the system
	Require    []string // mechanisms without which the system must not start
	Domains    []Domain // index: abi.DomainID
	Interfaces []Interface
	Messages   []Message
	Policies   []Policy
	Routes     []Route
	Metadata   []Metadata // keys that may travel beside a message; index i is field i+1 of the metadata section
	Users      []string   // users that a policy names; index: UserAtom
	Groups     []string   // system groups that a policy names; index: GroupAtom
	States     []State    // declared state
	Cells      []Cell     // where each instance of a state lives
	Words      uint32     // words of state that the cells of domains and of the system take
	Reload     Decision   // on users who put another image into force; beside them, root may
	Spawns     []Spawn    // who may make children of what; what is not there is denied
	Grants     []Grant    // who may delegate what to whom; what is not there is denied
	Objects    []Object   // what domains share beside messages, and mailboxes
}

// Per says what has an instance of a state of its own.
type Per uint8

const (
	PerGate Per = iota + 1
	PerDomain
	PerSystem
)

// A State is a declared variable that messages may change, and only by its moves.
type State struct {
	Name    string
	Per     Per
	Values  []string // a value is its index
	Initial uint32
	Moves   []Move // sorted, unique; staying as it is is always allowed and not listed
	// Set decides, by value, on users who set the state by hand to it, along Moves; it is
	// empty if no policy speaks of it. Beside them, root may.
	Set []Decision
}

// A Move is a declared change of a state, from one value to another.
type Move struct{ From, To uint32 }

// A Cell is one instance of a state: some bits of a word. What one message may
// change is in one word, so that one compare-and-swap changes it.
type Cell struct {
	State  uint32       // index into Image.States
	Domain abi.DomainID // PerDomain: whose; else abi.NoDomain
	Word   uint32       // index among the words of the system; GateWord: the word of the gate
	Shift  uint8        // Shift+Bits <= StateBits
	Bits   uint8
}

// GateWord, as a Cell's Word, is the word that each gate has of its own.
const GateWord uint32 = 0xffffffff

// StateBits is the number of bits of a word that hold values. The 16 above
// count its changes.
const StateBits = 48

// An Enter is an effect of admitting a message: a cell gets a value.
type Enter struct{ Cell, Value uint32 }

// A Rate is a token bucket: Burst tokens at most, one more every Every
// nanoseconds. The zero value is no limit.
type Rate struct {
	Every uint64 // ns
	Burst uint32
}

// A Policy is one Cedar policy, or one made from system.yaml.
type Policy struct {
	ID     string
	Source string // file:line
	Forbid bool
}

// A Verdict is a decision that was complete when the image was compiled.
type Verdict struct {
	Allow  bool
	Policy uint32 // that decided; abi.NoPolicy: default deny
}

// Access is how a file may be used.
type Access uint8

const (
	Read Access = 1 << iota
	Write
	Execute
)

// A Domain is a protection domain, as system.yaml describes it.
type Domain struct {
	Name    string
	Program string // absolute path of the executable on the host; empty until whoever starts the system fills it in (the name server, what is yet to be built)
	Digest  []byte // SHA-256 of the executable, if pinned; else empty
	Pins    []Pin  // what else must be as it was, if the executable is dynamically linked and pinned with its libraries
	Args    []string
	Env     []string // NAME=value
	Host    bool     // root: host: a read-only view of the system's libraries and programs
	Ring    Ring
	Files   []File
	Listen  []Listen
	Connect []string
	Exports []Export
	Needs   []string
	Tmp     uint64 // bytes of private /tmp
	Once    bool   // runs to its end; up --until-done waits for it
	Restart Restart
	Grace   uint64 // ns between SIGTERM and SIGKILL when it is stopped; 0: the system's
	Notify  bool   // it says by sd_notify(3) that it is ready
	Names   bool   // this is the name server
	Start   Verdict
	Quota   Quota

	Template bool     // children are made of it; it is not started itself
	Mailbox  bool     // the entry of an object that takes messages; it is not started, and has no program
	Children Children // of this domain
}

// A Pin is a file of the host whose content is fixed.
type Pin struct {
	Path   string // absolute; symbolic links are followed
	Digest []byte // SHA-256
}

// A Ring is a level of trust, 0 the highest.
type Ring struct {
	Level int32
	Name  string
}

// A File is something of the host that a domain sees at the same path.
type File struct {
	Path    string
	Access  Access
	AsRoot  bool // ID-mapped: the domain's user sees root's files as its own
	Verdict Verdict
}

// Restart says when a domain that has ended is started again.
type Restart uint8

const (
	RestartNever Restart = iota
	RestartOnFailure
	RestartAlways
)

// A Listen is a socket that is bound for the domain and handed over by name,
// or that it may bind itself.
type Listen struct {
	Name, Address string
	Self          bool // the domain binds it itself
}

// An Export is an interface that a domain may publish.
type Export struct {
	Interface uint32
	Socket    string // path of the socket for programs outside Ward, or empty
	Publish   Verdict
}

// Quota bounds what a domain uses, as the system says it. 0 means the default: see Image.Limits.
type Quota struct {
	Processes uint32 // and threads
	Memory    uint64 // bytes
	CPUWeight uint32 // 1 to 10,000, as cgroup v2's cpu.weight
	CPU       uint32 // hard limit, percent of one processor; 0: none
	Files     uint32 // open descriptors of one process
	FileSize  uint64 // bytes of one file that it writes
	Disk      uint64 // bytes of all that it holds in files of the host that it may write; 0: no limit
	Gates     uint32 // gate ends that the domain may hold
	Messages  uint32 // requests a second that it sends to servers, all gates together; 0: no limit
}

// An Interface is a protobuf service.
type Interface struct {
	Name    string // pkg.Service
	Methods []Method
}

// A Method is an entry point. Its position in Interface.Methods is its ordinal on the wire.
type Method struct {
	Name         string
	ClientStream bool
	ServerStream bool
	Request      uint32 // index into Messages
	Reply        uint32
}

// Metadata is a key that may travel beside a message.
type Metadata struct {
	Key string
	Max uint32 // bytes of its value
}

// Type is the type of a field on the wire and in memory: the protobuf scalar types.
type Type uint8

const (
	Int32 Type = iota + 1
	Int64
	Uint32
	Uint64
	Sint32
	Sint64
	Fixed32
	Fixed64
	Sfixed32
	Sfixed64
	Bool
	Enum
	Float
	Double
	String
	Bytes
	Nested // a message; groups are refused
)

// Cardinality says how often a field may occur and what its absence means.
type Cardinality uint8

const (
	Implicit Cardinality = iota // at most once; absent means the zero value
	Optional                    // at most once; absence is visible (optional, oneof member, message)
	Repeated                    // any number of times; packed or not for scalars
)

// A Message is a protobuf message. Messages may not contain themselves.
type Message struct {
	Name     string
	Fields   []Field // in order of Number
	Required []Oneof // oneofs of which one member must be present
}

// A Oneof lists the fields of a oneof, as indexes into Message.Fields.
type Oneof struct {
	Name   string
	Fields []uint32
}

// A Field is a parameter, with the bounds that the kernel enforces. Every
// bound is filled in: one that the interface does not state has Ward's default.
type Field struct {
	Number   uint32
	Name     string
	Type     Type
	Card     Cardinality
	Message  uint32 // for Nested: index into Messages
	Oneof    uint32 // 1 + number of the oneof in this message that it is a member of; 0: none
	Required bool   // must be on the wire
	// Numeric bounds, inclusive. For signed integers and enums as int64 bits,
	// for unsigned ones as uint64, for bool 0 and 1. For Float and Double the
	// bits of the float64, compared as numbers; HasRange false leaves them
	// unbounded, NaN included.
	HasRange bool
	Min, Max uint64
	Values   []int64 // if not empty: the numbers an enum defines, or the `in` set of an integer; sorted, unique
	// Lengths: of a string or bytes, or of a nested message's encoding, in bytes.
	MinLen, MaxLen uint32
	// Lengths of a string in code points. MaxRunes 0: not bounded this way.
	MinRunes, MaxRunes uint32
	// Repeated: number of elements.
	MinItems, MaxItems uint32
	// Strings and bytes: if In is not empty the value is one of them; sorted, unique.
	In             []string
	Prefix, Suffix string
	// Class, if not 0 in any bit, is the set of ASCII characters that a string
	// consists of: bit c of the pair.
	Class [2]uint64
	// Default says that the bounds (range, length or count) are Ward's default, not the interface's.
	Default bool
}

// A Route is what may pass from one client to one server over one interface.
// A pair for which no permit could match has no route, and gets no gate.
type Route struct {
	Client    abi.DomainID // abi.NoDomain: any user outside Ward
	Server    abi.DomainID
	Interface uint32
	Connect   Verdict // for a user client: what Connect says if ConnectUser is empty
	Lookup    Verdict
	// ConnectUser holds, for a route of users, the residual decision on
	// connecting: conditions over the user only.
	ConnectUser Decision
	Methods     []MethodPolicy // by ordinal
}

// A MethodPolicy decides on the messages of one method, each way.
type MethodPolicy struct {
	Request Decision // over the fields of the request message
	Reply   Decision // over the fields of the reply message
}

// A Decision is what is left of the policy when client, server and method are
// known. Any forbid that matches denies; else any permit that matches admits;
// else default deny. Rules are in the order in which they are tried: that of the
// sources, whatever the numbers of their policies.
type Decision struct {
	Forbid []Rule
	Permit []Rule
	// Silent: the message is declared to carry nothing (`flow` in system.yaml): no
	// metadata goes with it, and if it is a reply, an error in its place says its code only.
	Silent bool
}

// A Rule is one policy's residual condition.
//
// A permit may have effects. Every permit that matches has them, not only the
// one that is named as deciding: each takes a token of its bucket, and each
// enters its values. A message that would find a bucket empty or make a move
// that is not declared is denied, and has no effect at all.
type Rule struct {
	Policy uint32
	Audit  bool // also record what it admits
	When   Expr
	Enter  []Enter // permits only; sorted by Cell; all cells in one word
	Rate   Rate    // permits only
}

// Op is an operation of the intermediate form. All expressions are Boolean.
type Op uint8

const (
	True Op = iota + 1
	False
	And    // Args, at least one; left to right, stops at the first false
	Or     // Args, at least one; left to right, stops at the first true
	Not    // Args[0]
	If     // Args[0] ? Args[1] : Args[2]
	Has    // Path names an optional field: it is present
	Eq     // Left == Right: both Long or Bool, or a String parameter and a String constant
	Less   // Left < Right: both Long, signed
	LessEq // Left <= Right
	In     // Left is one of Set: all Long, or a String parameter and String constants
	Prefix // Left, a String parameter, starts with Right, a String constant
	Suffix // Left ends with Right
	User   // the client is the user Atom (index into Image.Users); only in routes of users
	Group  // the client's user is a member of the group Atom (index into Image.Groups)
	Like   // Left, a String parameter, consists of the texts of Set in this order, with anything between them; at least two
	AnyIn  // some element of Left, Elements of a repeated parameter, is one of Set
	AnyOut // some element of Left is none of Set
)

// An Expr is a Boolean expression over the parameters of one message.
type Expr struct {
	Op          Op
	Args        []Expr
	Left, Right Operand
	Set         []Value // In, AnyIn, AnyOut: sorted, unique; Like: in the order of the pattern
	Path        []uint32
	Atom        uint32
}

// What says which property of a field an operand is.
type What uint8

const (
	Constant  What = iota // Value
	Scalar                // the value of an integer, bool, enum (its number) or string field; absent implicit fields are 0 or ""
	Size                  // bytes in a bytes field, Long
	Count                 // elements of a repeated field, Long
	Byte                  // kept for handles
	CellValue             // the value of state in Operand.Cell, Long
	Elements              // the elements of a repeated integer, bool, enum or string field; AnyIn and AnyOut only
)

// An Operand is a constant or a property of a field.
type Operand struct {
	What  What
	Value Value    // Constant
	Path  []uint32 // field numbers from the message down; all but the last are nested, not repeated
	Cell  uint32   // CellValue: index into Image.Cells
}

// Value is a constant: a Long (also Bool: 0 or 1, and enums) or a String.
type Value struct {
	IsString bool
	Long     int64
	String   string
}
