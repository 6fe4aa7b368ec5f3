package monitor

import (
	"bytes"
	"reflect"
	"slices"

	"ward/abi"
	"ward/image"
)

// A plan is what changes when a running system gets another image. It is a
// function of the two images and of what is loaded, and changes nothing.
type plan struct {
	routes  []fate         // of the loaded routes that do not stay as they are
	start   []abi.DomainID // that were not there, or might not start
	stop    []abi.DomainID // that are not there any more, or may not start
	restart []restart      // for which the new image cannot come into force while they run
}

// A loadedRoute is one whose programs are in the kernel: between two domains,
// or of one user.
type loadedRoute struct {
	route uint32
	atoms Atoms // as the new image numbers users and groups
}

// A fate is what becomes of a loaded route.
type fate struct {
	at int // among the loaded routes
	loadedRoute
	dies   bool
	reason abi.Reason // why it dies: ReasonForbid, ReasonDefault, ReasonNotRunning (its interface has changed)
	policy uint32     // that forbids it, or abi.NoPolicy
}

// A restart names a running domain and what of its description has changed.
type restart struct {
	domain abi.DomainID
	what   []string // keys of system.yaml
}

// makePlan compares two images.
//
// Preconditions: both pass image.Check; after.Aligned(before); running has an
// element for each domain of before.
func makePlan(before, after *image.Image, loaded []loadedRoute, running []bool) *plan {
	p := new(plan)
	for at, l := range loaded {
		if f, changes := fateOf(before, after, l); changes {
			f.at = at
			p.routes = append(p.routes, f)
		}
	}
	for i := range after.Domains {
		id := abi.DomainID(i)
		start := after.Domains[i].Start.Allow
		switch {
		case i < len(running) && running[i]:
			if !start {
				p.stop = append(p.stop, id)
			} else if what := slices.Concat(rebuilt(&before.Domains[i], &after.Domains[i]), firstGate(before, after, i), losesMailbox(before, after, i)); len(what) > 0 {
				p.restart = append(p.restart, restart{id, what})
			}
		case start && (i >= len(before.Domains) || !before.Domains[i].Start.Allow):
			p.start = append(p.start, id)
		}
	}
	return p
}

func fateOf(before, after *image.Image, l loadedRoute) (fate, bool) {
	f := fate{loadedRoute: l, policy: abi.NoPolicy}
	v := connectVerdict(after, l.route, l.atoms)
	iface := after.Routes[l.route].Interface
	switch {
	case !v.Allow:
		f.dies, f.reason, f.policy = true, abi.ReasonDefault, v.Policy
		if v.Policy != abi.NoPolicy {
			f.reason = abi.ReasonForbid
		}
	case !sameShape(before, after, iface):
		f.dies, f.reason = true, abi.ReasonNotRunning
	default:
		same := sameRoute(before, after, l.route)
		for _, level := range l.atoms.Chain.Levels {
			same = same && sameRoute(before, after, level.Route)
		}
		return f, !same
	}
	return f, true
}

// sameShape reports whether both ends of an open gate still mean the same by
// the numbers on it: of methods, of fields and of metadata.
func sameShape(before, after *image.Image, iface uint32) bool {
	o, n := before.Interfaces[iface].Methods, after.Interfaces[iface].Methods
	if len(o) != len(n) {
		return false
	}
	if !slices.EqualFunc(before.Metadata, after.Metadata, func(a, b image.Metadata) bool { return a.Key == b.Key }) {
		return false
	}
	for i := range o {
		if o[i].Name != n[i].Name || o[i].ClientStream != n[i].ClientStream || o[i].ServerStream != n[i].ServerStream ||
			!sameMessage(before, after, o[i].Request, n[i].Request, sameType) || !sameMessage(before, after, o[i].Reply, n[i].Reply, sameType) {
			return false
		}
	}
	return true
}

// sameType: of fields with the same number, whether they are the same on the wire.
func sameType(a, b *image.Field) bool {
	return a.Type == b.Type && a.Card == b.Card && a.Oneof == b.Oneof
}

// sameBounds: whether two fields are the same in all.
func sameBounds(a, b *image.Field) bool {
	x, y := *a, *b
	x.Message, y.Message = 0, 0
	return reflect.DeepEqual(x, y)
}

// sameMessage compares two messages down to the last field. A handle is not the same
// as a message that only looks like one: the filter looks up what a handle claims.
func sameMessage(before, after *image.Image, x, y uint32, same func(a, b *image.Field) bool) bool {
	o, n := &before.Messages[x], &after.Messages[y]
	if (o.Name == image.HandleName) != (n.Name == image.HandleName) || len(o.Fields) != len(n.Fields) || len(o.Required) != len(n.Required) || len(o.Required) > 0 && !reflect.DeepEqual(o.Required, n.Required) {
		return false
	}
	for i := range o.Fields {
		a, b := &o.Fields[i], &n.Fields[i]
		if a.Number != b.Number || !same(a, b) || a.Type == image.Nested && !sameMessage(before, after, a.Message, b.Message, same) {
			return false
		}
	}
	return true
}

// sameRoute reports whether the filters of a route need no change. It may say
// no where they do not: then the same programs are found again and swapped for
// themselves.
func sameRoute(before, after *image.Image, route uint32) bool {
	o, n := &before.Routes[route], &after.Routes[route]
	if !sameMethods(o.Methods, n.Methods) || !reflect.DeepEqual(before.Metadata, after.Metadata) ||
		!reflect.DeepEqual(before.Cells, after.Cells) || !reflect.DeepEqual(before.States, after.States) {
		return false
	}
	x, y := before.Interfaces[o.Interface].Methods, after.Interfaces[n.Interface].Methods
	for i := range x {
		if !sameMessage(before, after, x[i].Request, y[i].Request, sameBounds) || !sameMessage(before, after, x[i].Reply, y[i].Reply, sameBounds) {
			return false
		}
	}
	return true
}

func sameMethods(o, n []image.MethodPolicy) bool {
	return slices.EqualFunc(o, n, func(a, b image.MethodPolicy) bool {
		return a.Request.Silent == b.Request.Silent && a.Reply.Silent == b.Reply.Silent &&
			sameRules(a.Request.Forbid, b.Request.Forbid) && sameRules(a.Request.Permit, b.Request.Permit) &&
			sameRules(a.Reply.Forbid, b.Reply.Forbid) && sameRules(a.Reply.Permit, b.Reply.Permit)
	})
}

func sameRules(a, b []image.Rule) bool { return len(a)+len(b) == 0 || reflect.DeepEqual(a, b) }

// rebuilt names what differs between two descriptions of a domain and was put
// into its process when that was made. Exports, needs and the manner of its end
// are looked up when they are needed, so they change with the image.
func rebuilt(o, n *image.Domain) (what []string) {
	for _, f := range []struct {
		key  string
		same bool
	}{
		{"program", o.Program == n.Program},
		{"digest", bytes.Equal(o.Digest, n.Digest)},
		{"args", slices.Equal(o.Args, n.Args)},
		{"env", slices.Equal(o.Env, n.Env)},
		{"root", o.Host == n.Host},
		{"ring", o.Ring == n.Ring},
		{"files", slices.Equal(granted(o), granted(n))},
		{"listen", slices.Equal(o.Listen, n.Listen)},
		{"connect", slices.Equal(o.Connect, n.Connect)},
		{"notify", o.Notify == n.Notify},
		{"tmp", o.Tmp == n.Tmp},
		{"quota", o.Quota == n.Quota},
		{"name server", o.Names == n.Names},
	} {
		if !f.same {
			what = append(what, f.key)
		}
	}
	return what
}

// granted are the files that a domain gets.
func granted(d *image.Domain) (files []image.File) {
	for _, f := range d.Files {
		if f.Verdict.Allow {
			f.Verdict = image.Verdict{}
			files = append(files, f)
		}
	}
	return files
}
