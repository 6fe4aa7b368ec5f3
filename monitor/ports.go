package monitor

import (
	"context"
	"os"
	"syscall"
	"time"

	"ward/abi"
	"ward/audit/event"
	"ward/image"
)

// A Fabric makes what enforces the policy in the kernel. kernel.Fabric behind
// an adapter (fabric.go) is the real one.
type Fabric interface {
	// Endpoint makes what belongs to one domain: its verdict page with that many
	// blocks, and its ring buffer. cgroup 0: senders are not checked.
	Endpoint(id abi.DomainID, cgroup uint64, blocks uint32, ringBytes int) (Endpoint, error)
	// User does the same for one connection of a user outside Ward, whose rates
	// count over all of them.
	User(uid uint32, blocks uint32, ringBytes int) (Endpoint, error)
	States
	// Load makes the programs of a route of an image between two endpoints.
	Load(img *image.Image, route uint32, atoms Atoms, client, server Endpoint) (Route, error)
	// Open makes a gate.
	Open(Route) (Gate, error)
	// Prepare verifies what routes that are loaded get in a new image. An error
	// changes nothing.
	Prepare(img *image.Image, changes []Change) (Swap, error)
}

// States are the words of state of a system. A gate has one of its own.
type States interface {
	// State returns a word: values in the low image.StateBits bits, above them
	// how often it has changed.
	State(word uint32) (uint64, error)
	// SetState gives the bits of mask the values of bits, if they are one of from
	// or from is empty, in one step with counting the change.
	SetState(word uint32, mask, bits uint64, from ...uint64) error
}

// A Change is what becomes of a loaded route.
type Change struct {
	Route  Route
	Number uint32 // in the new image
	Atoms  Atoms
	Dies   bool // nothing may pass any more
}

// A Swap is a change of many routes that is ready to come into force.
type Swap interface {
	// Commit swaps all, and returns after every filter that ran an old program
	// has ended. The time is that from the first swap to the last.
	Commit() (time.Duration, error)
	Cancel() error
}

// Atoms are what the policy can know of a user outside Ward: indexes into the
// image's users and groups. For a domain: NoAtoms.
type Atoms struct {
	User   int // -1: none that the policy names
	Groups []int
	Chain  image.Chain // of a child or a delegation
}

// NoAtoms are those of a domain.
var NoAtoms = Atoms{User: -1}

// An Endpoint is one side of gates. Close it after its routes.
type Endpoint interface {
	Page() *os.File // the endpoint's, like Ring: do not close it
	Ring() *os.File
	Counters() (Counters, error)
	Close() error
}

// Counters of the messages that an endpoint sent.
type Counters struct {
	Records uint64 // audit records, the lost ones included
	Lost    uint64 // audit records for which there was no room
	Allowed uint64
	Denied  uint64
}

// A Route is a loaded pair of programs. Close it after its gates.
type Route interface {
	Close() error
	// Terse reports whether the server's errors on a method carry their code only
	// (abi.ControlMethod).
	Terse(method int) bool
}

// A Gate is an open gate. The monitor hands its ends over and closes them.
type Gate interface {
	Index() uint32
	Ends() (client, server *os.File)
	Blocks() (client, server uint32)
	State() (uint64, error) // of the gate's own word, as States has it
	SetState(mask, bits uint64, from ...uint64) error
	// Close revokes the gate, if it still is one, and frees its place.
	Close() error
}

// A Creator makes processes: creator.Client behind an adapter is the real one.
type Creator interface {
	Start(ctx context.Context, domain abi.DomainID, control, output *os.File) (Process, error)
	Signal(ctx context.Context, domain abi.DomainID, sig syscall.Signal) error
	Exits() <-chan Exit
	// Hits tells when domains run into limits, each at most once a second; it is
	// closed when the creator has ended. What comes before an Exit is taken before that.
	Hits() <-chan Hit
	// Renew gives the creator another image, sealed, that has the numbers of its own.
	Renew(ctx context.Context, sealed *os.File) error
}

// A Process is a started domain. The receiver closes Pidfd.
type Process struct {
	PID    int
	UID    uint32
	Cgroup uint64 // its ID; 0: none
	Pidfd  *os.File
	Ring   *os.File // of the addresses that it is refused; nil: none. The receiver closes it, like Notify
	Notify *os.File // what it says by sd_notify(3); nil: nothing
	// Arrived is called when Monitor.Running lists it, or it does not run: a
	// creator that dies before that is followed by one that is told of it. May be nil.
	Arrived func()
}

// An Exit says that a domain's first process has ended.
type Exit struct {
	Domain  abi.DomainID
	PID     int
	Status  syscall.WaitStatus
	Refused uint64 // records of Process.Ring, the lost ones included
	Number  uint64 // as Hit.Number
}

// Auditor takes events; it never waits.
type Auditor interface {
	Event(e event.Event, files ...*os.File) // takes the files over
}

// Holder is the first process of wardd.
type Holder interface {
	Bound(path string) error
	Ready() error
}
