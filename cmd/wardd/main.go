// Command wardd runs a system: the privileged side of Ward. `ward up` starts
// it; people do not.
//
//	wardd [flags]          the holder: descriptor 3 is the policy image, a
//	                       sealed memfd, descriptor 4 the life line
//	wardd monitor [flags]  the reference monitor
//	wardd creator [flags]  the controlled process creator
//	wardd audit [flags]    the audit writer
//	wardd capabilities     what each of them keeps for itself, for people to read
//
// The holder starts the other three, itself anew, with the descriptors that
// each needs and nothing else. This package only wires the rooms together. Its
// dependencies are listed by a test: no YAML, no Cedar, no gRPC, no protobuf,
// no command-line framework.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/creator"
	"ward/holder/child"
	"ward/holder/lifeline"
	"ward/holder/link"
)

// Exit statuses.
const (
	exitFailed = 1 // the system failed
	exitUsage  = 2 // it cannot be started like this
)

// options are the flags, which all four processes get.
type options struct {
	name      string
	runDir    string
	slot      uint
	names     string
	untilDone bool
	auditAll  bool
	library   bool          // level library: started by an ordinary user
	grace     time.Duration // of domains that state none
	longest   time.Duration // that a domain states
	again     uint          // which start of a monitor this is, for a process that takes over from one that died
}

// Each system has a slot; its domains' user IDs start at uidBase + uidSpan*slot.
const (
	uidBase = 0x70000000
	uidSpan = 4096
	maxSlot = 4095
)

// memory is the size at which the collector of each process works harder, and
// memoryEach what each domain adds to it, in bytes. A limit below what is in use
// would keep the collector running all the time (docs/benchmarks.md).
const (
	memory     = 32 << 20
	memoryEach = 64 << 10
)

func init() {
	// Children die with the thread that started them (PR_SET_PDEATHSIG), and
	// the main goroutine is on the main thread from here on.
	runtime.LockOSThread()
}

func main() {
	debug.SetGCPercent(50)
	debug.SetMemoryLimit(memory)
	role, args := "", os.Args[1:]
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		role, args = args[0], args[1:]
	}
	var o options
	flags := flag.NewFlagSet("wardd", flag.ContinueOnError)
	flags.StringVar(&o.name, "name", "", "name of the system")
	flags.StringVar(&o.runDir, "run-dir", "", "`directory` of this system (default /run/ward/NAME)")
	flags.UintVar(&o.slot, "slot", 0, "number of the system, from 0: its domains' user IDs are 0x70000000 + 4096*slot on")
	flags.StringVar(&o.names, "names-program", "", "`path` of the name server's program")
	flags.BoolVar(&o.untilDone, "until-done", false, "stop when every domain that runs to its end has")
	flags.BoolVar(&o.auditAll, "audit-all", false, "record every admitted message, too")
	flags.DurationVar(&o.grace, "grace", 2*time.Second, "time between SIGTERM and SIGKILL at the end")
	flags.DurationVar(&o.longest, "longest-grace", 0, "the longest time between SIGTERM and SIGKILL that a domain of the image has of its own: what the monitor may take at the end")
	level := flags.String("level", abi.LevelKernel.String(), "what checks the parameters of messages: kernel, or library, for ordinary users")
	flags.UintVar(&o.again, "again", 0, "used by wardd itself: the process takes over from one that died")
	if err := flags.Parse(args); err != nil {
		os.Exit(exitUsage)
	}
	o.library = *level == abi.LevelLibrary.String()
	if !o.library && *level != abi.LevelKernel.String() {
		fmt.Fprintf(os.Stderr, "wardd: --level=%s: there are kernel and library\n", *level)
		os.Exit(exitUsage)
	}
	os.Exit(run(role, &o, args, flags.Args()))
}

func run(role string, o *options, flags, rest []string) int {
	usage := func(format string, args ...any) int {
		fmt.Fprintf(os.Stderr, "wardd: "+format+"\n", args...)
		return exitUsage
	}
	if role == "capabilities" {
		printPostures(os.Stdout, o)
		return 0
	}
	switch {
	case os.Geteuid() != 0:
		return usage("root is needed to start domains and to load filters: run `sudo ward up DIR`, or, with less protection, `ward up --level library DIR`")
	case o.library != singleUser():
		return usage("--level=library is for a user namespace with one user, and only that level: `ward up --level library DIR` starts it")
	case o.library && o.runDir == "":
		return usage("--run-dir must be given with --level=library")
	case len(rest) > 0:
		return usage("unexpected argument %q", rest[0])
	case o.name == "" || o.slot > maxSlot || o.grace <= 0:
		return usage("--name must be given, --slot be at most %d, --grace positive; `ward up DIR` does it", maxSlot)
	}
	if o.runDir == "" {
		o.runDir = "/run/ward/" + o.name
	}
	unix.Umask(0o022)
	// Nobody may read this process's memory or descriptors by /proc or ptrace.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return usage("PR_SET_DUMPABLE: %v", err)
	}
	var err error
	switch role {
	case "":
		image, life := inherit(link.ImageFD, "policy image"), inherit(lifeline.FD, "life line")
		if image == nil || life == nil {
			return usage("descriptor %d must be the policy image and %d the life line: start it by `ward up DIR`", link.ImageFD, lifeline.FD)
		}
		if err := closeOthers(lifeline.FD); err != nil {
			return usage("%v", err)
		}
		return hold(o, image, life, flags)
	case "monitor":
		return runMonitor(o)
	case "creator":
		err = runCreator(o)
	case "audit":
		err = runAudit(o)
	default:
		return usage("unknown process %q", role)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "wardd %s: %v\n", role, err)
		return statusOf(err)
	}
	return 0
}

// statusOf is the exit status that tells the holder of an error.
func statusOf(err error) int {
	if errors.Is(err, creator.ErrUnserved) {
		return child.Unserved
	}
	return exitFailed
}

// inherit makes a file of a descriptor that this process was started with, or
// returns nil if it was not.
func inherit(fd int, name string) *os.File {
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		return nil
	}
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), name)
}
