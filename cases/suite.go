package cases

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	"ward/abi"
	"ward/diag"
	"ward/image"
	"ward/interfaces"
	"ward/internal/yamltext"
	"ward/system"
)

// Suffix ends the names of files with policy tests. They stand beside system.yaml.
const Suffix = "_test.yaml"

// Limits of what one file may hold.
const (
	maxTests    = 10_000 // cases and rules
	maxFindings = 100
)

// A Suite is the policy tests of a system.
type Suite struct {
	Files []string // that were read
	world *world
	tests []*test
}

// A test is a case or a rule.
type test struct {
	name  string
	pos   diag.Pos
	steps []*step // of a case
	rule  rule    // of `always`; else nil
}

// A rule is an entry of `always`.
type rule interface {
	judge(w *world, r *Result)
}

// world is the system that tests are about, and what they touched.
type world struct {
	img      *image.Image
	set      *interfaces.Set
	policies map[uint32]bool    // that decided what some test asked
	methods  map[[2]uint32]bool // interface and ordinal
	held     *[]*instance       // of memory that is not shared; nil: not yet found
}

// A subject is who does something: a domain, or a user outside Ward.
type subject struct {
	domain abi.DomainID // abi.NoDomain: a user
	user   string       // its name; "*": any user
	groups []string     // of the user; nil: not said
}

func (s subject) isUser() bool { return s.domain == abi.NoDomain }

// verbs are what a step may be about.
var verbs = []string{"call", "reply", "start", "publish", "spawn", "adopt", "grant", "create", "read", "write"}

// A step is one thing that is asked for, and what has to be decided.
type step struct {
	pos    diag.Pos
	verb   string
	from   subject
	to     []subject // call: servers; reply: receivers; grant: borrowers; nil: all that there are. spawn, adopt: the template
	target method    // call, reply, grant
	object string    // start, spawn, adopt: the domain; publish: the interface; grant: the method; create, read, write: the path or the object
	// declared is the object of system.yaml that a step is about; nil: a path.
	declared *image.Object
	given    []image.Expr
	misfit   bool // an argument that the signature does not have
	want     expectation
	after    uint64              // ns since the step before
	set      map[uint32][]uint32 // cells that have these values before the step
}

// method is a method of an interface, by index and ordinal.
type method struct{ iface, ordinal uint32 }

// expectation is what a step says about the verdict.
type expectation struct {
	kind   outcome
	policy uint32 // of byPolicy
	allow  bool
}

type outcome uint8

const (
	byDefault outcome = iota + 1
	byPolicy
	byBounds
	bySignature
	byState
	byRate
)

// Load reads all policy tests of a system directory. The findings are sorted;
// if one is an error the suite must not be run.
//
// Preconditions: img and set come from a compilation of the same directory
// without errors.
func Load(fsys fs.FS, img *image.Image, set *interfaces.Set) (*Suite, diag.List) {
	s := &Suite{world: &world{img: img, set: set, policies: map[uint32]bool{}, methods: map[[2]uint32]bool{}}}
	var out diag.List
	names, err := fs.Glob(fsys, "*"+Suffix)
	if err != nil {
		out.Errorf(diag.Pos{File: "."}, "", "cannot list the files: %v", err)
	}
	slices.Sort(names)
	seen := map[string]diag.Pos{}
	for _, name := range names {
		s.Files = append(s.Files, name)
		data, ok := system.ReadText(fsys, path.Clean(name), diag.Pos{File: name}, &out)
		if !ok {
			continue
		}
		src := yamltext.NewSource(name, data)
		var found diag.List
		if root := yamltext.Parse(src, data, "a test file", "`ward: 1` and `cases:`", &found); root != nil {
			r := &reader{world: s.world, src: src, out: &found, names: seen}
			s.tests = append(s.tests, r.file(root)...)
		}
		found.Sort()
		if len(found) > maxFindings {
			last := found[maxFindings]
			found = found[:maxFindings]
			found.Errorf(last.Pos, "", "more findings follow: correct these first")
		}
		out = append(out, found...)
	}
	out.Sort()
	return s, out
}

func (w *world) domainNames() []string {
	var names []string
	for i := range w.img.Domains {
		names = append(names, w.img.Domains[i].Name)
	}
	return names
}

func (w *world) methodNames() []string {
	var names []string
	for _, i := range w.img.Interfaces {
		for _, m := range i.Methods {
			names = append(names, i.Name+"/"+m.Name)
		}
	}
	return names
}

// methodNamed finds a method by its name, pkg.Service/Method.
func (w *world) methodNamed(name string) (method, bool) {
	for i := range w.img.Interfaces {
		for m := range w.img.Interfaces[i].Methods {
			if t := (method{uint32(i), uint32(m)}); w.methodName(t) == name {
				return t, true
			}
		}
	}
	return method{}, false
}

func (w *world) methodName(m method) string {
	i := &w.img.Interfaces[m.iface]
	return i.Name + "/" + i.Methods[m.ordinal].Name
}

// subjectName is how tests write a subject.
func (w *world) subjectName(s subject) string {
	if s.isUser() {
		return "user:" + s.user
	}
	return w.img.Domains[s.domain].Name
}

// exporters are the domains that export an interface.
func (w *world) exporters(iface uint32) []subject {
	var res []subject
	for i := range w.img.Domains {
		if slices.ContainsFunc(w.img.Domains[i].Exports, func(e image.Export) bool { return e.Interface == iface }) {
			res = append(res, subject{domain: abi.DomainID(i)})
		}
	}
	return res
}

// ownPolicy reports whether people wrote a policy: those that Ward makes have
// IDs of their own form.
func ownPolicy(p *image.Policy) bool {
	return !strings.HasPrefix(p.ID, "implied: ") && !strings.HasPrefix(p.Source, system.FileName+":") && !strings.HasPrefix(p.ID, "ward/")
}
