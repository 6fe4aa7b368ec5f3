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
// namespace's holder may have made, whose number says nothing here. Nothing to end,
// or no cgroup v2, is no error.
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
// and was not waited for (Z, X: proc(5)) holds nothing.
func holds(pid uint64) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, named, _ := strings.Cut(string(stat), "(")
	name, state, _ := strings.Cut(named, ") ")
	return name == holderName && !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}

// hasForeign reports whether a process below a cgroup is of another PID namespace
// than those that can be seen from here: its number reads 0 (cgroups(7)).
func hasForeign(dir string) (foreign bool, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() || foreign {
			return err
		}
		f, err := os.Open(filepath.Join(path, "cgroup.procs"))
		if err != nil {
			return err
		}
		defer f.Close()
		s := bufio.NewScanner(f)
		for s.Scan() {
			foreign = foreign || s.Text() == "0"
		}
		return s.Err()
	})
	return foreign, err
}
