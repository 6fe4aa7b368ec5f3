// Package plan is what the host tells the guest to do, and how the guest
// answers. It is shared by vm (on the host) and vm/init (in the guest).
package plan

// Path is where the guest finds its plan, a JSON array of steps.
const Path = "/plan.json"

// Modules is where the guest finds kernel modules, and loads them all, in order.
const Modules = "/modules"

// Mark starts the lines of the serial console that are the guest's own:
//
//	ward-vm: begin NAME
//	ward-vm: end NAME ok|exit status N|...
//	ward-vm: done N failed
const Mark = "ward-vm: "

// Tests is how the names of steps begin that run the tests of a room.
const Tests = "tests of "

// A Step is one program to run in the guest.
type Step struct {
	Name    string
	Dir     string // made if it does not exist; "" is /
	Args    []string
	Env     []string // besides PATH and HOME
	Seconds int      // 0: 60
}
