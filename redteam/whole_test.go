package redteam

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A whole is an attack that takes a whole system: gates, names, an audit. Its test
// stands where such systems are started, and has the control in it.
type whole struct {
	name, class  string
	tries, stops string
	test         string
	control      string
}

var wholes = []whole{
	{"gates", "exhaustion", "opens gates to a server, to the name server and to who does not take them, without end", "a quota for each domain, and a share of each server's gates for each client", "TestAttackGates", "gates below the quota are opened; others get theirs all the time"},
	{"quota of gates", "exhaustion", "opens gates until it is refused, with a quota of 16", "the quota", "TestAttackGatesQuota", "a domain with the default opens more"},
	{"verdicts", "exhaustion", "has a call pending in every slot of a gate, and denied ones by the thousand", "64 slots a gate, each with its verdict; who has none left is told at once", "TestAttackVerdicts", "a slot that was answered is free; another gate has its own"},
	{"blocks of the verdict page", "exhaustion", "opens and closes gates to one who keeps its ends", "a block is given again when both ends are closed; the page is the domain's own", "TestAttackBlocks", "when the other ends are closed it gets gates again"},
	{"names", "exhaustion", "holds every slot of as many gates to the name server as it gets with lookups that wait, and publishes a thousand times", "slots and gates of each client; one name is one entry", "TestAttackNamesFilled", "each lookup is admitted, and answered when what it waits for comes"},
	{"audit", "exhaustion", "sends 100,000 packets that are no messages", "a ring of its own for each sender; what is lost is counted to the last", "TestAttackAudit", "it loses records of its own, and nobody else does"},
	{"messages", "exhaustion", "calls on all its gates as fast as it can, with a quota", "one bucket for all gates of a domain", "TestAttackFloodOfMessages", "without the quota twice as many pass"},
	{"queued bytes", "exhaustion", "fills the queue of a server that does not read", "a bounded queue for each gate", "TestAttackDeafServer", "when it is read there is room again"},
	{"requests to the monitor", "exhaustion", "asks the monitor 100,000 times", "a rate for each control channel", "TestAttackControlFlood", "the first are answered; others are all the time"},
	{"PIDs and memory of neighbours", "exhaustion", "processes, memory, memory of the kernel's and of /tmp beyond a quota, with a neighbour at work", "pids and memory controllers", "TestAttackQuota", "with a wide quota it has all that it wants"},
	{"swapped between hash and execution", "check and use", "puts another program in the place of one that was hashed and is not executed yet, in place and by a rename", "what is hashed is what runs: a sealed copy in memory", "TestAttackSwap", "where the path is executed, what was swapped in runs"},
	{"links in the way of a start", "symlinks at setup", "exchanges directories on the way of a file for links while the domain starts", "paths are opened by directories that root owns", "TestLinkAttack", "without the exchange the start succeeds"},
	{"processes of wardd", "ptrace, /proc, descriptors", "reaches into the holder, the monitor, the creator, the audit writer and the name server", "PID namespace, seccomp; not dumpable", "TestAttackWardd", "the same on a process that does not guard itself, and by root"},
	{"another port", "network", "binds ports, addresses and protocols that are not listed: in IPv6 form, without a family, of the kernel's choice", "programs at the cgroup, which record each", "TestAttackBindRecorded", "what is listed is bound; outside a domain all of it is"},
	{"another domain's port", "network", "binds it with SO_REUSEADDR and SO_REUSEPORT", "the same", "TestAttackStealPort", "if it is listed for both, the kernel lets it"},
	{"listening without binding", "network", "makes sockets listen until the kernel has chosen a listed port, on every address", "a program on incoming packets, which knows addresses", "TestAttackGatherPort", "with every address listed, another is reached"},
	{"a gate in other hands", "leaked descriptors", "another process sends on a descriptor of a gate", "the filter knows the sender's cgroup (before Linux 6.18 not all kernels)", "TestAttackLeakedGate", "the domain itself goes on"},
}

// asked are the classes that the suite must have, each with a row that shows it: of
// the table, or of whole systems.
var asked = []struct{ class, row string }{
	{"TIOCSTI injection", "TIOCSTI"}, {"its 64-bit ioctl form", "TIOCSTI, high bits"},
	{"setuid execution", "setuid program"}, {"file-capability execution", "file capabilities"},
	{"/proc/self/exe overwrite", "/proc/self/exe"}, {"leaked directory descriptors", "leaked directory"},
	{"symlinks at setup time", "a directory is replaced by a link"}, {"symlinks at setup time, while it starts", "links in the way of a start"},
	{"new mount calls", "fsopen, fsmount"}, {"new mount calls", "open_tree, move_mount"}, {"new mount calls", "mount_setattr"},
	{"open_by_handle_at", "open_by_handle_at"}, {"name_to_handle_at", "name_to_handle_at"}, {"abstract sockets", "abstract socket"},
	{"pidfd_getfd", "pidfd_getfd"}, {"ptrace, Yama off", "ptrace"}, {"process_madvise", "process_madvise"},
	{"keyrings", "keyctl"}, {"keyrings", "add_key"}, {"user namespace tricks", "clone, user namespace"}, {"user namespace tricks", "unshare"}, {"user namespace tricks", "clone3, user namespace"},
	{"io_uring", "io_uring"}, {"bpf", "bpf, program"}, {"perf_event_open", "perf_event_open"}, {"userfaultfd", "userfaultfd"}, {"memfd and fexecve", "memfd and fexecve"},
	{"core patterns", "core_pattern"}, {"/proc writes", "/proc/sys/vm"}, {"/sys writes", "/sys writes"}, {"cgroup release agents", "release_agent"},
	{"device nodes", "make a device"}, {"netlink", "socket, netlink"}, {"raw sockets", "socket, raw"}, {"packet sockets", "socket, packet"}, {"vsock", "socket, vsock"},
	{"signals", "kill"}, {"SIGIO ownership", "F_SETOWN"}, {"priority of others", "setpriority"}, {"CPU affinity of others", "sched_setaffinity"},
	{"System V IPC", "System V shared memory"}, {"System V IPC", "System V messages"}, {"System V IPC", "System V semaphores"}, {"POSIX IPC", "POSIX message queues"}, {"POSIX IPC", "/dev/shm"},
	{"file locks", "locks of a file that was not granted"}, {"leases", "leases"}, {"inotify on others' files", "inotify"}, {"timing of others through /proc", "timing of another"},
	{"32-bit system calls", "int 0x80"}, {"x32 system calls", "x32"},
	{"a file swapped between hash and exec", "swapped between hash and execution"},
	{"exhaustion of processes", "processes (fork bomb)"}, {"exhaustion of memory", "memory"}, {"exhaustion of descriptors", "descriptors"}, {"exhaustion of inodes", "inodes on /tmp"}, {"exhaustion of PIDs", "threads"},
	{"exhaustion of gates", "gates"}, {"exhaustion of names", "names"}, {"exhaustion of audit", "audit"}, {"exhaustion of verdicts", "verdicts"},
}

// TestClassesHaveRows: every class that is asked for is a row of the document.
func TestClassesHaveRows(t *testing.T) {
	rows := map[string]bool{}
	for _, a := range table {
		rows[a.name] = true
	}
	for _, w := range wholes {
		if w.class == "" || w.tries == "" || w.stops == "" || w.test == "" || w.control == "" {
			t.Errorf("%s has no defence, test or control", w.name)
		}
		rows[w.name] = true
	}
	for _, a := range asked {
		if !rows[a.row] {
			t.Errorf("%s: there is no row %q", a.class, a.row)
		}
	}
}

// TestWholesExist: the tests that the document names are there.
func TestWholesExist(t *testing.T) {
	const top = ".."
	if _, err := os.Stat(filepath.Join(top, "go.mod")); err != nil {
		t.Skip("needs the repository, which the guest of make vm-test does not have")
	}
	tests := map[string]bool{}
	decl := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	for _, room := range []string{"cmd/wardd", "creator", "kernel"} {
		files, err := filepath.Glob(filepath.Join(top, room, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range decl.FindAllStringSubmatch(string(text), -1) {
				tests[m[1]] = true
			}
		}
	}
	for _, w := range wholes {
		if !tests[w.test] {
			t.Errorf("%s: there is no %s", w.name, w.test)
		}
	}
}

// wholeRows are the rows of the document.
func wholeRows() string {
	var b strings.Builder
	b.WriteString("\n## Whole systems\n\nA hostile domain of a whole system, with `wardd` and neighbours. Each is a test of its own, in `make test`, with its control in it.\n\n" +
		"| attack | class | what the attacker tries | what stops it | test | control: it takes effect |\n|---|---|---|---|---|---|\n")
	for _, w := range wholes {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | `%s` | %s |\n", w.name, w.class, w.tries, w.stops, w.test, w.control)
	}
	return b.String()
}
