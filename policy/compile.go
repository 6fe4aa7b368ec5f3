package policy

import (
	"cmp"
	"fmt"
	"slices"

	"ward/diag"
	"ward/image"
	"ward/interfaces"
	"ward/policy/internal/cedar"
	"ward/system"
)

// compiler is one run of Compile.
type compiler struct {
	*world
	img     *image.Image
	members map[cedar.UID]map[cedar.UID]bool // for each entity what is in it, itself included
	sources []*source                        // in the order of the image
	routes  map[routeKey]*route
	byIface [][]*route
	own     map[*action][]*source // the policies that cover one of Ward's own actions
	implied map[string]uint32     // policies that Ward makes, by ID
	cells   map[cellKey]uint32    // indexes of Image.Cells
	running *image.Image          // whose cells keep their places; nil: none
	whole   bool                  // Whole
}

// An Option of Compile.
type Option func(*compiler)

// Running says which image the system runs now. State that both have keeps its
// place, so that a reload keeps what it holds; where that cannot be it is an
// error that says why.
func Running(img *image.Image) Option {
	return func(c *compiler) { c.running = img }
}

// Compile compiles the policies of a system. The image is nil if there is an
// error among the findings.
//
// Preconditions: sys and set come from a Load without errors.
func Compile(sys *system.System, set *interfaces.Set, files []Source, options ...Option) (*image.Image, diag.List) {
	var findings diag.List
	c := newCompiler(sys, set, files, &findings)
	for _, o := range options {
		o(c)
	}
	if !findings.Failed() {
		c.build()
	}
	if !findings.Failed() {
		if err := c.img.Check(); err != nil {
			findings.Errorf(diag.Pos{File: system.FileName}, "", "the system does not fit an image: %v", err)
		}
	}
	findings.Sort()
	if findings.Failed() {
		return nil, findings
	}
	return c.img, findings
}

// newCompiler reads and checks the policies.
func newCompiler(sys *system.System, set *interfaces.Set, files []Source, findings *diag.List) *compiler {
	c := &compiler{world: newWorld(sys, set, findings), img: &image.Image{Name: sys.Name.Value},
		routes: map[routeKey]*route{}, own: map[*action][]*source{}, implied: map[string]uint32{}}
	c.findMembers()
	c.makeCells()
	c.sources = readAll(files, findings)
	// What a permit with @audit admits is recorded, also where another permit
	// matches too: so these come first.
	slices.SortStableFunc(c.sources, func(a, b *source) int { return cmp.Compare(rank(a), rank(b)) })
	for i, s := range c.sources {
		s.index = uint32(i)
		c.img.Policies = append(c.img.Policies, image.Policy{ID: s.id, Source: fmt.Sprintf("%s:%d", s.Pos.File, s.Pos.Line), Forbid: s.Forbid})
		c.resolve(s)
		c.resolveEffects(s)
		if !s.broken {
			c.check(s)
		}
	}
	return c
}

func rank(s *source) int {
	if s.audit {
		return 0
	}
	return 1
}

// build makes the image of policies without errors.
func (c *compiler) build() {
	c.img.Interfaces, c.img.Messages = c.set.Interfaces, c.set.Messages
	for _, r := range c.sys.Require {
		c.img.Require = append(c.img.Require, r.Value)
	}
	for _, m := range c.sys.Metadata {
		c.img.Metadata = append(c.img.Metadata, image.Metadata{Key: m.Key.Value, Max: m.Max})
	}
	for _, s := range c.sources {
		for _, a := range s.scope.actions {
			if a.kind == wardOwn && !a.later {
				c.own[a] = append(c.own[a], s)
			}
		}
	}
	c.byIface = make([][]*route, len(c.set.Interfaces))
	c.calls(false)
	c.calls(true)
	c.prune()
	c.replies()
	c.transitions()
	c.objects()
	c.buildDomains()
	c.disks()
	c.listens()
	c.buildRoutes()
	c.handlesFit()
	c.operators()
	c.children()
	c.grants()
	c.layout()
	if !c.findings.Failed() {
		c.lint()
	}
}

// makePolicy returns the index of a permit that Ward makes.
func (c *compiler) makePolicy(id, source string) uint32 {
	i, ok := c.implied[id]
	if !ok {
		i = uint32(len(c.img.Policies))
		c.implied[id] = i
		c.img.Policies = append(c.img.Policies, image.Policy{ID: id, Source: source})
	}
	return i
}

// granted is the permit that system.yaml itself makes at a place.
func (c *compiler) granted(at diag.Pos) uint32 {
	id := fmt.Sprintf("%s:%d", system.FileName, at.Line)
	return c.makePolicy(id, id)
}

// impliedPolicy is a permit that every system has.
func (c *compiler) impliedPolicy(what string) uint32 {
	return c.makePolicy("implied: "+what, fmt.Sprintf("%s:%d", system.FileName, max(c.sys.Name.Pos.Line, 1)))
}

// IDs of implied permits, after "implied: ".
const (
	impliedStart   = "start by who runs the system"
	impliedConnect = "lookup and connect where a call could match"
	impliedReply   = "replies to admitted calls"
	impliedNames   = "the name server"
)

// lint warns of what is legal but hardly meant.
func (c *compiler) lint() {
	c.lintState()
	c.lintObjects()
	for _, s := range c.sources {
		if !s.matched && !s.Forbid && !s.isModel() {
			c.findings.Warnf(s.Pos, "is the server missing an export, or the condition never true?", "permit %s can never match", quote(s.id))
			c.findings.Tag("never-matches", s.id)
		}
	}
	for i, f := range c.set.Interfaces {
		if i == c.names || len(c.servers[i]) == 0 {
			continue
		}
		for m, method := range f.Methods {
			called := slices.ContainsFunc(c.byIface[i], func(r *route) bool { return len(r.methods[m].Request.Permit) > 0 })
			if !called {
				c.findings.Notef(c.set.Pos[methodName(f.Name, method.Name)], "permit it, or leave it out of the interface",
					"nobody may call %s/%s", f.Name, method.Name)
				c.findings.Tag("uncalled", f.Name+"/"+method.Name)
			}
		}
	}
}
