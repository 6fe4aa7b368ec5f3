// Package system reads system.yaml: what runs, and what the file itself grants.
//
// Invariants: pure but for the fs.FS that it is given; every value keeps its
// place in the file; it never grants anything: grants become policies (policy).
package system

import "ward/diag"

// FileName is the name of the file in a system directory.
const FileName = "system.yaml"

// MaxFile is the largest file of a system directory that is read, in bytes.
const MaxFile = 4 << 20

// A String is a string with its place.
type String struct {
	Value string
	Pos   diag.Pos
}

// A System is the content of system.yaml.
type System struct {
	Name       String
	Interfaces []String // .proto files, relative to the directory
	Policy     []String // .cedar files
	Use        []String // models
	Require    []String
	Rings      []Ring
	Domains    []*Domain // in the order of the file
	Metadata   []Metadata
	AuditAllow bool // `audit: all` at the top: record admitted messages too (see docs/decisions)
}

// A Ring as declared; level 0 is the most trusted. If the file declares none
// there are four: kernel 0, service 1, system 2, user 3 (documented in docs/policy.md).
type Ring struct {
	Name  String
	Level int32
}

// A Domain as declared.
type Domain struct {
	Name    String
	Pos     diag.Pos
	Build   String // Go package to build, relative to the directory; `program` is then its output
	Program String
	Digest  String
	Args    []String
	Env     []String // NAME=value
	Root    String   // "" or "host"
	Files   []File
	Listen  []Listen
	Connect []String
	Exports []Export
	Needs   []String
	Ring    String
	Roles   []String
	Label   String
	Tmp     uint64
	Once    bool
	Restart String
	Inherit String
	Quota   Quota
}

// A File is an entry of `files`.
type File struct {
	Path String
	Mode String // r, w, rw, rx
	As   String // "" or "root"
}

// A Listen is an entry of `listen`.
type Listen struct{ Name, Address String }

// An Export is an entry of `exports`.
type Export struct {
	Interface String
	Socket    String
	Bracket   []int32
	Pos       diag.Pos
}

// Quota bounds; 0: default.
type Quota struct {
	Processes uint32
	Memory    uint64
	CPUWeight uint32
	Files     uint32
	Gates     uint32
}

// Metadata declares a metadata key and the largest value, in bytes.
type Metadata struct {
	Key String
	Max uint32
}
