package system

import (
	"ward/diag"
	"ward/ring"
)

// FileName is the name of the file in a system directory.
const FileName = "system.yaml"

// MaxFile is the largest file of a system directory that is read, in bytes.
const MaxFile = 4 << 20

// A String is a string with its place.
type String struct {
	Value string
	Pos   diag.Pos
}

// at returns the place of s, or another if s has none.
func (s String) at(other diag.Pos) diag.Pos {
	if s.Pos.Line == 0 {
		return other
	}
	return s.Pos
}

// A System is the content of system.yaml.
type System struct {
	Name       String
	Interfaces []String // .proto files, relative to the directory
	Policy     []String // .cedar files
	Use        []Use    // models
	Require    []String
	Rings      []Ring
	Order      *ring.Order // of the rings; never nil
	Roles      []Role      // those with an entry at the top
	Domains    []*Domain   // in the order of the file; an implicit name server comes last
	Metadata   []Metadata  // the two keys of the trace context first
	States     []State
	Objects    []Object // what domains share; no domain has the name of one
	AuditAllow bool     // `audit: all` at the top: record admitted messages too (docs/decisions/0003-audit-all.md)

	// NameServer is the element of Domains that finds interfaces, or nil if no
	// domain exports anything. It is the domain NamesDomain; unless the file
	// declares it, it is added with Implicit set, at the place of `domains`.
	NameServer *Domain
}

// NamesDomain is the name of the name server, and NamesInterface what it
// serves. Only this domain exports that interface.
const (
	NamesDomain    = "names"
	NamesInterface = "ward.v1.Names"
)

// A Ring as declared; level 0 is the most trusted. If the file declares none
// there are four: kernel 0, service 1, system 2, user 3; their Name has no place.
// Where rings form a partial order, Level is that of ring.Order.
type Ring struct {
	Name  String
	Level int32
}

// A Domain as declared. Exactly one of Build and Program is set; both are
// empty for a name server that is Ward's own.
type Domain struct {
	Name    String
	Pos     diag.Pos
	Build   String   // Go package to build, relative to the directory; `program` is then its output
	Program String   // absolute path on the host
	Digest  String   // "" or sha256: and 64 hexadecimal digits
	Args    []String // after the program's name
	Env     []String // NAME=value
	Root    String   // "" or "host"
	Files   []File
	Listen  []Listen
	Connect []String // tcp:HOST:PORT or udp:HOST:PORT
	Exports []Export // one per interface
	Needs   []String // domains that start before this one; without cycles
	Ring    String   // name of an element of System.Rings; if not declared, the least trusted, at Pos
	Lower   []String // rings less trusted than Ring in which children of it may be asked for
	Roles   []String
	Label   Label
	Bracket *Bracket // of all exports that have none of their own
	Owner   String   // user of the host; "": root
	Tmp     uint64   // bytes; 0: default
	Once    bool
	Restart String // "", RestartNever, RestartOnFailure or RestartAlways
	Grace   uint64 // seconds between SIGTERM and SIGKILL; 0: the system's
	Notify  bool   // says by sd_notify that it is ready
	Inherit String // "", InheritNone or InheritAll; "" with Passes: those

	Template bool     // children are made of it
	Passes   []String // entry points, pkg.Service/Method, that children get without asking
	Children Children
	Quota    Quota

	Names    bool // the name server
	Implicit bool // not in the file
}

// A File is an entry of `files`.
type File struct {
	Path String
	Mode String // r, w, rw, rx
	As   String // "" or "root"
	Ring String // whose data it is; "": anybody's
}

// A Listen is an entry of `listen`. Address is tcp:ADDRESS:PORT, udp:ADDRESS:PORT or unix:/PATH.
type Listen struct {
	Name, Address String
	Bind          String // "" or "domain"
}

// An Export is an entry of `exports`.
type Export struct {
	Interface String // pkg.Service
	Socket    String // absolute path of the socket for programs outside Ward, or empty; unique in the system
	Bracket   *Bracket
	HasEntry  bool     // `entry` is written
	Entry     []String // methods for callers of the gate part of the bracket
	Trust     String   // "" or WithinRing
	Flow      String   // "", FlowCall or FlowReply
	Data      String   // ring whose data the replies carry, or empty
	Methods   []ExportMethod
	Pos       diag.Pos
}

// Quota bounds; 0: default. The fields are those of image.Quota.
type Quota struct {
	Processes uint32 // and threads
	Memory    uint64 // bytes
	CPUWeight uint32 // 1 to 10,000
	CPU       uint32 // percent of one processor
	Files     uint32 // open descriptors of one process
	FileSize  uint64 // bytes of one file
	Disk      uint64 // bytes of all that it may write on the host
	Gates     uint32 // gate ends
	Messages  uint32 // requests a second
}

// Metadata declares a metadata key and the largest value, in bytes.
type Metadata struct {
	Key String
	Max uint32
}
