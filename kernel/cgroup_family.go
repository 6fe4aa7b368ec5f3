package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// What a domain weighs, all that come from it weigh together. So a domain that
// may have children has a cgroup around its own, its family's, which weighs as
// much as the domain, and its children are in there beside it, each perhaps with
// a family of its own:
//
//	ward-NAME.PID/names
//	ward-NAME.PID/desk.family/desk
//	ward-NAME.PID/desk.family/child.3072
//	ward-NAME.PID/desk.family/child.3073.family/child.3073
//
// In a family, too, each has its part by its weight. No process is in a family's
// cgroup itself: version 2 forbids it, and in version 1 each of its threads would
// weigh as much as a child. Nothing but weights is set there, and only the
// hierarchy that has the cpu controller has families: in version 1 the domains'
// v2 cgroups lie side by side. Who ends alone is removed alone; a family is
// removed with the last who is in it, so a domain that starts again comes
// back to those that outlived it.

// A CgroupPlace says where the cgroup of a domain is to be.
type CgroupPlace struct {
	Name   string // of the domain's directory
	Parent string // of that of the domain whose child it is; "": of none
	Family bool   // it may have children
	Weight uint32 // of its parent, with all that come from it
}

const familySuffix = ".family"

func isFamily(dir string) bool { return strings.HasSuffix(dir, familySuffix) }

// weighing returns the system's directory in the hierarchy that has the cpu
// controller; "": none has it.
func (t *CgroupTree) weighing() (top string, v2 bool) {
	if t.enable("cpu") {
		return t.path, true
	}
	if mount, ok := t.v1["cpu"]; ok {
		return filepath.Join(mount, t.name), false
	}
	return "", false
}

// at returns the directory of a domain below top, the system's in one hierarchy.
func (t *CgroupTree) at(top, domain string) string {
	if weighing, _ := t.weighing(); top == weighing {
		return filepath.Join(top, t.below(domain))
	}
	return filepath.Join(top, domain)
}

// below is a domain's directory in the hierarchy that has families, below the system's.
func (t *CgroupTree) below(domain string) string {
	if rel, ok := t.inFamily[domain]; ok {
		return rel
	}
	return domain
}

// familyOf is the directory of a domain's family, below the system's. If the
// domain is not in one, because when it was started it could have no children,
// or by a version of Ward that made none, it is beside it (cgroup_halves.go).
func (t *CgroupTree) familyOf(domain string) string {
	dir := filepath.Dir(t.below(domain))
	if filepath.Base(dir) == domain+familySuffix {
		return dir
	}
	return filepath.Join(dir, domain+familySuffix)
}

// place notes where a new domain is to be, and makes the families around it.
func (t *CgroupTree) place(p CgroupPlace, weight uint64) (err error) {
	delete(t.inFamily, p.Name)
	_, outlived := t.weights[p.Name+familySuffix] // by who is in its family still
	if p.Parent == "" && !p.Family && !outlived {
		return nil
	}
	top, v2 := t.weighing()
	if top == "" {
		return nil
	}
	if !v2 {
		if err := t.makeTop(top); err != nil {
			return err
		}
	}
	in, family := ".", ""
	if p.Parent != "" {
		in = t.familyOf(p.Parent)
	}
	t.inFamily[p.Name] = filepath.Join(in, p.Name)
	if p.Family || outlived {
		family = filepath.Join(in, p.Name+familySuffix)
		t.inFamily[p.Name] = filepath.Join(family, p.Name)
	}
	defer func() {
		if err != nil {
			t.leave(p.Name)
		}
	}()
	if in != "." && !isDir(filepath.Join(top, in)) {
		if err := t.makeFamily(top, v2, in, 0); err != nil {
			return err
		}
		if err := t.Weigh(p.Parent, p.Weight); err != nil {
			return err
		}
	}
	if family == "" {
		return nil
	}
	return t.makeFamily(top, v2, family, weight)
}

// makeFamily makes the cgroup of a family, or gives the one that is there this weight.
func (t *CgroupTree) makeFamily(top string, v2 bool, family string, weight uint64) error {
	dir := filepath.Join(top, family)
	err := os.Mkdir(dir, 0o755)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cgroup: %w", err)
	}
	if err == nil && v2 {
		if err := t.passOn(dir); err != nil {
			return err
		}
	}
	if weight == 0 {
		return nil
	}
	if err := writeWeight(dir, v2, weight); err != nil {
		return err
	}
	return t.count(family, weight)
}

// passOn makes the controllers that the system's cgroup has available in a
// family's. A process there would be in the way.
func (t *CgroupTree) passOn(dir string) error {
	var words []string
	for _, c := range []string{"cpu", "memory", "pids"} {
		if t.enable(c) {
			words = append(words, "+"+c)
		}
	}
	return writeText(dir, "cgroup.subtree_control", strings.Join(words, " "))
}

// leave removes the families in which nobody is any more when a domain was
// removed from them.
func (t *CgroupTree) leave(domain string) {
	top, _ := t.weighing()
	for family := filepath.Dir(t.below(domain)); family != "."; family = filepath.Dir(family) {
		if err := unix.Rmdir(filepath.Join(top, family)); err != nil && err != unix.ENOENT {
			break // others are in it
		}
		t.uncount(family)
	}
	delete(t.inFamily, domain)
}

// findFamilies finds the families of a tree that is taken over, who is in them,
// and what all weigh: else the system would weigh too little until each has been
// taken over.
func (t *CgroupTree) findFamilies() {
	if top, v2 := t.weighing(); top != "" {
		t.findIn(top, v2, ".")
	}
}

func (t *CgroupTree) findIn(top string, v2 bool, family string) {
	entries, err := os.ReadDir(filepath.Join(top, family))
	if err != nil { // no directory: nothing was there that weighs
		return
	}
	for _, e := range entries {
		rel := filepath.Join(family, e.Name())
		switch {
		case !e.IsDir():
		case isFamily(e.Name()):
			t.findIn(top, v2, rel)
			if unix.Rmdir(filepath.Join(top, rel)) == nil {
				break // it was empty: whoever made it died before anybody was in it, or when all had left
			}
			if family == "." {
				t.weights[rel] = readWeight(filepath.Join(top, rel), v2)
			}
		case family == ".":
			t.weights[rel] = readWeight(filepath.Join(top, rel), v2)
		default:
			t.inFamily[e.Name()] = rel
		}
	}
}

// removeBelow removes what is below a directory of domains and families.
func removeBelow(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if isFamily(path) {
			errs = append(errs, removeBelow(path))
		}
		errs = append(errs, removeCgroup(path))
	}
	return errors.Join(errs...)
}

// readWeight reads what writeWeight has written; 0: it cannot be read.
func readWeight(dir string, v2 bool) uint64 {
	if v2 {
		return value(dir, "cpu.weight")
	}
	return (value(dir, "cpu.shares")*100 + 1023) / 1024
}

// count counts what a domain or a family weighs towards what the system weighs.
// What is in a family does not.
func (t *CgroupTree) count(rel string, weight uint64) error {
	if filepath.Dir(rel) != "." {
		return nil
	}
	t.weights[rel] = weight
	return t.weighAll()
}

// uncount takes it off again.
func (t *CgroupTree) uncount(rel string) {
	if _, ok := t.weights[rel]; ok {
		delete(t.weights, rel)
		t.weighAll() // an error: it is as heavy as before
	}
}

// weighAll makes the system as heavy as its domains.
func (t *CgroupTree) weighAll() error {
	sum := uint64(0)
	for _, w := range t.weights {
		sum += w
	}
	if sum = min(max(sum, 1), maxTreeWeight); sum == t.weight {
		return nil
	}
	t.weight = sum
	top, v2 := t.weighing()
	return writeWeight(top, v2, sum)
}
