package redteam

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"ward/image"
	"ward/kernel"
)

// An attack is one row of the table. It is tried in a domain, where it must be
// refused; in the domain with less, as `layers` say, where something else must
// still refuse it; and as its control, where it must take effect.
type attack struct {
	name  string
	class string // of vulnerabilities, or the CVE
	tries string // what the attacker does
	stops string // what it

	order    []string // of the hostile program
	host     bool     // the domain has `root: host`
	terminal bool     // its output is one
	own      bool     // its program is its user's, who may write it
	killed   bool     // it may also be refused by the end of the process
	domain   func(*scene, *image.Domain)
	outside  func(*scene)      // what somebody outside does as soon as the program runs
	effect   func(*scene) bool // seen from outside; nil: what the hostile program says

	layers  []layer
	control control
}

// A layer is a domain with less.
type layer struct {
	without kernel.Defence
	abi     int  // of Landlock, from which on it holds
	nsroot  bool // as root of its own user, mount, PID, network, IPC, UTS and cgroup namespace
}

// A control is where the attack takes effect. Exactly one of without, root,
// domain and run is set.
type control struct {
	without kernel.Defence              // the same domain without these
	nsroot  bool                        // and as root of its user namespace
	root    bool                        // as root, in namespaces that are thrown away
	more    []string                    // arguments besides
	domain  func(*scene, *image.Domain) // in place of the attack's
	run     func(*scene) string
	how     string // of domain and run
	needs   func() string
}

func (c control) String() string {
	switch {
	case c.how != "":
		return c.how
	case c.root:
		return "as root, in throw-away namespaces"
	case c.nsroot:
		return "as root of its user namespace, without " + names(c.without)
	}
	return "without " + names(c.without)
}

// try runs the attack in a domain.
func (a *attack) try(s *scene, l layer, change func(*scene, *image.Domain)) (out string, done bool) {
	s.t.Helper()
	order := s.order(a.order)
	if l.nsroot {
		order = append([]string{"nsroot"}, order...)
	}
	d := image.Domain{Name: "attacker", Program: hostile, Args: order, Host: a.host, Files: append([]image.File(nil), s.files...)}
	if a.own {
		d.Program = s.copyHostile("own", int(s.uid), 0o777)
	}
	if change == nil {
		change = a.domain
	}
	if change != nil {
		change(s, &d)
	}
	r, w, err := os.Pipe()
	if a.terminal {
		r, w = s.terminal()
	}
	s.must(err)
	world := newWorld(s.t, s.uid, l.without, d)
	defer world.end(s.t)
	out, status := world.run(s.t, r, w, func() {
		if a.outside != nil {
			a.outside(s)
		}
	})
	done = strings.HasPrefix(out, "done") || a.terminal && strings.Contains(out, "done") // what was typed comes before it
	if a.effect != nil {
		done = a.effect(s)
	}
	if out == "" && status.Signaled() {
		out = "killed: " + unix.SignalName(status.Signal())
	}
	return out, done
}

// refused tries the attack, which must not take effect.
func (a *attack) refused(t *testing.T, l layer) string {
	t.Helper()
	s := newScene(t)
	out, done := a.try(s, l, nil)
	switch {
	case done:
		t.Errorf("%+v: the attack took effect: %s", l, out)
	case !strings.HasPrefix(out, "refused") && !(a.killed && strings.HasPrefix(out, "killed")):
		t.Errorf("%+v: neither done nor refused: %q", l, out)
	}
	return out
}

// works runs the control.
func (a *attack) works(t *testing.T) bool {
	t.Helper()
	c := a.control
	s := newScene(t)
	var out string
	var done bool
	switch {
	case c.run != nil:
		out = c.run(s)
		done = strings.HasPrefix(out, "done")
	case c.root:
		out = plainly(t, 0, nil, append(s.order(a.order), c.more...)...)
		done = strings.HasPrefix(out, "done")
		if a.effect != nil {
			done = a.effect(s)
		}
	default:
		out, done = a.try(s, layer{without: c.without, nsroot: c.nsroot}, c.domain)
	}
	if !done {
		t.Errorf("control, %s: the attack does not work where it should: %q", c, out)
	}
	return done
}

// A result is what one run of the table found.
type result struct {
	inside  string // how it was refused
	layers  []string
	control string // how the control took effect; empty: not shown
	missing string // why there is no control here
}

var results struct {
	sync.Mutex
	of map[string]result
}

// TestAttackTable is `make redteam`.
func TestAttackTable(t *testing.T) {
	needRoot(t)
	results.of = map[string]result{}
	t.Run("all", func(t *testing.T) {
		for i := range table {
			a := &table[i]
			t.Run(strings.ReplaceAll(a.name, "/", " "), func(t *testing.T) {
				t.Parallel()
				a.test(t)
			})
		}
	})
	if !t.Failed() && *update {
		writeDocument(t)
	}
}

func (a *attack) test(t *testing.T) {
	if a.host {
		if _, err := os.Stat("/bin/sh"); err != nil {
			t.Skip("needs a host with programs, which the guest of make vm-test is not")
		}
	}
	r := result{inside: short(a.refused(t, layer{}))}
	for _, l := range a.layers {
		if have, err := kernel.LandlockABI(); err != nil || have < l.abi {
			r.layers = append(r.layers, "not on this kernel")
			continue
		}
		r.layers = append(r.layers, short(a.refused(t, l)))
	}
	if a.control.needs != nil {
		r.missing = a.control.needs()
	}
	if r.missing != "" {
		t.Logf("not shown: %s", r.missing)
	} else if a.works(t) {
		r.control = a.control.String()
	}
	results.Lock()
	results.of[a.name] = r
	results.Unlock()
}

var digits = regexp.MustCompile(` \(\d+\)`)

// short is an outcome as the document shows it, the same in each run.
func short(out string) string {
	out = strings.TrimPrefix(out, "refused: ")
	line, _, _ := strings.Cut(out, "\n")
	if i := strings.LastIndex(line, ": "); i >= 0 && !strings.HasPrefix(line, "killed") {
		line = line[i+2:]
	}
	return digits.ReplaceAllString(line, "")
}

// inherits runs the attack as a plain child with what it inherits.
func inherits(how string, set func(*scene, *exec.Cmd), args ...string) control {
	return control{how: how, run: func(s *scene) string {
		order := s.order(args)
		return plainly(s.t, s.uid, func(c *exec.Cmd) {
			if set != nil {
				set(s, c)
			}
		}, order...)
	}}
}

// missing says that a file, and with it what it stands for, is not there.
func missing(name string) func() string {
	return func() string {
		if _, err := os.Stat(name); err != nil {
			return "this machine has no " + name
		}
		return ""
	}
}
