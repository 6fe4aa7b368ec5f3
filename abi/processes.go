package abi

import "errors"

// What domains ask of their children and of what they lend travels on the
// control channel. What does not fit the fields of Control is in Text, encoded
// as Control is: the monitor reads fixed binary messages only
// (docs/decisions/0068-children-on-the-control-channel.md).
const (
	// From a domain to the monitor; each is answered with the same Seq.
	OpSpawn    ControlOp = 64 // make a child: Text is a SpawnRequest; answered by OpChild
	OpKill     ControlOp = 65 // end the child with number Block, and its descendants
	OpChildren ControlOp = 66 // of those with numbers above Block; answered by OpOK, Text: children (EncodeChildren) by their numbers, Detail: 1 if there are more
	OpLend     ControlOp = 67 // Text is a LendRequest; answered by OpLent
	OpTakeBack ControlOp = 68 // end the delegation with number Block
	OpBorrow   ControlOp = 69 // open a gate by the delegation with number Block; answered by OpGate

	// From the monitor to a domain.
	OpChild      ControlOp = 80 // Block: number of the child, Name
	OpChildEnded ControlOp = 81 // Seq 0: the child with number Block and Name has ended, Detail: status as of a shell, Text: why
	OpLent       ControlOp = 82 // Block: number of the delegation; Seq 0: of one to this domain, by the domain Name, of the entry point Text
	OpLentEnded  ControlOp = 83 // Seq 0: the delegation with number Block, to or of this domain, has ended; Text: why
)

// MaxAsk is the longest message that a domain sends on its control channel.
const MaxAsk = 4 << 10

// A SpawnRequest asks for a child.
type SpawnRequest struct {
	Template  string   // "": of the domain itself
	Rights    []string // entry points, pkg.Service/Method; what `inherit` says comes in addition
	Lifetime  uint64   // ns; 0: no end
	Adopted   bool     // it may outlive its parent
	Processes uint32   // quotas; 0: the template's
	Memory    uint64
	CPUWeight uint32
	Files     uint32
	Gates     uint32
	Ring      string // name of a less trusted ring than the template's; "": the template's
}

// A Child is a child of a domain.
type Child struct {
	ID       uint32
	Name     string
	Template string
	PID      uint32 // in the monitor's PID namespace; for display only
	Running  bool   // else it is being started
	Children uint32 // its own, all generations
}

// A LendRequest asks for a delegation: To may call Entry in the name of the
// domain that asks.
type LendRequest struct {
	To       string // name of a domain or child
	Entry    string // pkg.Service/Method
	Lifetime uint64 // ns
	Uses     uint32 // requests; 0: no limit
}

var errProcesses = errors.New("malformed request about children")

func (w *writer) u64(v uint64) { w.u32(uint32(v)); w.u32(uint32(v >> 32)) }
func (r *reader) u64() uint64  { lo := r.u32(); return uint64(lo) | uint64(r.u32())<<32 }

// Encode returns the request as Control.Text has it.
func (s *SpawnRequest) Encode() string {
	var w writer
	w.str(s.Template)
	w.u16(uint16(len(s.Rights)))
	for _, r := range s.Rights {
		w.str(r)
	}
	w.u64(s.Lifetime)
	w.bool(s.Adopted)
	w.u32(s.Processes)
	w.u64(s.Memory)
	w.u32(s.CPUWeight)
	w.u32(s.Files)
	w.u32(s.Gates)
	if s.Ring != "" { // programs built before there was one end here, too
		w.str(s.Ring)
	}
	return string(w.b)
}

// ParseSpawn reads what Encode writes.
func ParseSpawn(text string) (SpawnRequest, error) {
	r := reader{b: []byte(text)}
	s := SpawnRequest{Template: r.str()}
	for range r.count(2) {
		s.Rights = append(s.Rights, r.str())
	}
	s.Lifetime, s.Adopted, s.Processes, s.Memory = r.u64(), r.bool(), r.u32(), r.u64()
	s.CPUWeight, s.Files, s.Gates = r.u32(), r.u32(), r.u32()
	if !r.bad && len(r.b) > 0 {
		s.Ring = r.str()
		r.bad = r.bad || s.Ring == ""
	}
	return s, r.end()
}

// Encode returns the request as Control.Text has it.
func (l *LendRequest) Encode() string {
	var w writer
	w.str(l.To)
	w.str(l.Entry)
	w.u64(l.Lifetime)
	w.u32(l.Uses)
	return string(w.b)
}

// ParseLend reads what Encode writes.
func ParseLend(text string) (LendRequest, error) {
	r := reader{b: []byte(text)}
	l := LendRequest{To: r.str(), Entry: r.str(), Lifetime: r.u64(), Uses: r.u32()}
	return l, r.end()
}

// maxChildren is how long an encoded list of children may be: the answer has to
// fit MaxControl.
const maxChildren = MaxControl / 2

// EncodeChildren returns the answer to OpChildren, and how many of the list fit.
func EncodeChildren(list []Child) (text string, n int) {
	size := 2
	for n < len(list) {
		if size += 17 + len(list[n].Name) + len(list[n].Template); size > maxChildren {
			break
		}
		n++
	}
	var w writer
	w.u16(uint16(n))
	for _, c := range list[:n] {
		w.u32(c.ID)
		w.str(c.Name)
		w.str(c.Template)
		w.u32(c.PID)
		w.bool(c.Running)
		w.u32(c.Children)
	}
	return string(w.b), n
}

// ParseChildren reads what EncodeChildren writes.
func ParseChildren(text string) ([]Child, error) {
	r := reader{b: []byte(text)}
	var list []Child
	for range r.count(17) {
		list = append(list, Child{ID: r.u32(), Name: r.str(), Template: r.str(), PID: r.u32(), Running: r.bool(), Children: r.u32()})
	}
	return list, r.end()
}

// end reports what was malformed, or is left over.
func (r *reader) end() error {
	if r.bad || len(r.b) != 0 {
		return errProcesses
	}
	return nil
}
