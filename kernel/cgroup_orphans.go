package kernel

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The domains of a system end with its holder: the creator kills them. If both are
// killed together, as by a service manager that kills all of a unit, nobody is left
// who does. Their gates let nothing pass any more, but they run, and have their user
// IDs, ports and files. They are found by the cgroup of their system, which has the
// process number of its holder in its name.

// holderName is the name of the program that a holder is (comm of proc(5)).
const holderName = "wardd"

// EndOrphans kills what is left of systems of this name whose holder has ended, waits
// until it is gone, and removes their cgroups. It leaves alone what another PID
// namespace's holder may have made, whose number says nothing here, be that one
// around this or within it. Nothing to end, or no cgroup v2, is no error.
//
// Preconditions: the caller may kill any process, and no such system is about to be
// ended by its creator, which this would not harm.
func EndOrphans(system string) error {
	v2, _, err := readMounts()
	if err != nil || v2 == "" {
		return err
	}
	entries, err := os.ReadDir(v2)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name(), "ward-"+system+".")
		pid, err := strconv.ParseUint(number, 10, 31)
		if !ok || err != nil || holds(pid) {
			continue
		}
		if foreign, err := hasForeign(filepath.Join(v2, e.Name())); foreign || err != nil {
			continue // or it is being removed
		}
		if err := RemoveCgroupTree(e.Name()); err != nil && isDir(filepath.Join(v2, e.Name())) { // else somebody else has just done it
			errs = append(errs, fmt.Errorf("what is left of a system %s whose first process was %d: %w", system, pid, err))
		}
	}
	return errors.Join(errs...)
}

// holds reports whether a process may be a holder. That its number is another
// wardd's by now is possible: then its domains are left alone. One that has ended
// and was not waited for (Z, X: proc(5)) holds nothing, nor does one of another
// user, as a domain has that calls itself wardd. Who started the caller holds
// what it holds, whatever its program is called.
func holds(pid uint64) bool {
	if pid == uint64(os.Getppid()) {
		return true
	}
	s, err := statusOf(pid)
	return err == nil && s.name == holderName && s.user == os.Getuid() && s.state != "Z" && s.state != "X"
}

// A processStatus is of /proc/PID/status (proc_pid_status(5)).
type processStatus struct {
	name, state string
	user        int // real
	depth       int // PID namespaces from this one's to its own, both counted
}

func statusOf(pid uint64) (s processStatus, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return s, err
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		words := strings.Fields(value)
		switch {
		case key == "Name": // what is no letter is escaped
			s.name = strings.TrimSpace(value)
		case len(words) == 0:
		case key == "State":
			s.state = words[0]
		case key == "Uid":
			s.user, err = strconv.Atoi(words[0])
		case key == "NSpid":
			s.depth = len(words)
		}
	}
	return s, err
}

// ownDepth is the depth of a domain of a holder in this PID namespace.
const ownDepth = 2

// hasForeign reports whether what runs below a cgroup is of a holder in another
// PID namespace than this. Of one around this, or beside it, the numbers read 0
// (cgroups(7)); of one within this they do not, but all are further down than
// domains of a holder in this one. A domain cannot go further down itself.
func hasForeign(dir string) (foreign bool, err error) {
	some, near := false, false
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() || foreign {
			return err
		}
		f, err := os.Open(filepath.Join(path, "cgroup.procs"))
		if err != nil {
			return err
		}
		defer f.Close()
		for lines := bufio.NewScanner(f); ; {
			if !lines.Scan() {
				return lines.Err()
			}
			pid, err := strconv.ParseUint(lines.Text(), 10, 31)
			foreign = foreign || err == nil && pid == 0
			if err != nil || foreign || near {
				continue
			}
			if s, err := statusOf(pid); err == nil && s.depth > 0 { // else it has just ended
				some, near = true, s.depth <= ownDepth
			}
		}
	})
	return foreign || some && !near, err
}
