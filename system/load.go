package system

import (
	"io/fs"
	"slices"

	"ward/diag"
	"ward/internal/yamltext"
	"ward/ring"
)

// maxFindings is the number of findings of one file that are kept.
const maxFindings = 100

// Load reads system.yaml. The System is never nil: if the list has errors it
// is what could be read, good for finding more errors elsewhere, and must not
// be compiled. Findings are sorted; each has a place inside the file, but for
// a file that cannot be read.
func Load(fsys fs.FS) (*System, diag.List) {
	sys := &System{Rings: defaultRings(), Order: defaultOrder(), Metadata: traceContext()}
	var out diag.List
	data, ok := ReadText(fsys, FileName, diag.Pos{File: FileName}, &out)
	if !ok {
		return sys, out
	}
	src := yamltext.NewSource(FileName, data)
	if root := yamltext.Parse(src, data, "a system", "`ward: 1` and `name:`", &out); root != nil {
		c := &checker{src, &out}
		start := diag.Pos{File: FileName, Line: 1, Column: 1}
		b := &builder{sys: sys, out: &out}
		b.system(c.fit(root, fileShape, "the file", start))
	}
	out.Sort()
	if len(out) > maxFindings {
		last := out[maxFindings]
		out = out[:maxFindings]
		out.Errorf(last.Pos, "", "more findings follow: correct these first")
	}
	return sys, out
}

// defaultRings are the rings of a system that declares none.
func defaultRings() []Ring {
	var rings []Ring
	for i, name := range []string{"kernel", "service", "system", "user"} {
		rings = append(rings, Ring{String{Value: name}, int32(i)})
	}
	return rings
}

func defaultOrder() *ring.Order {
	var names []string
	for _, r := range defaultRings() {
		names = append(names, r.Name.Value)
	}
	o, err := ring.Line(names)
	if err != nil {
		panic(err) // four names that differ
	}
	return o
}

// traceContext returns the metadata keys that every system has (W3C Trace
// Context: traceparent has 55 characters, tracestate has to carry 512).
func traceContext() []Metadata {
	return []Metadata{{String{Value: "traceparent"}, 55}, {String{Value: "tracestate"}, 512}}
}

// Domain returns the domain of that name, or nil.
func (s *System) Domain(name string) *Domain {
	i := slices.IndexFunc(s.Domains, func(d *Domain) bool { return d.Name.Value == name })
	if i < 0 {
		return nil
	}
	return s.Domains[i]
}

// Ring returns the declared or default ring of that name.
func (s *System) Ring(name string) (Ring, bool) {
	i := slices.IndexFunc(s.Rings, func(r Ring) bool { return r.Name.Value == name })
	if i < 0 {
		return Ring{}, false
	}
	return s.Rings[i], true
}

func (s *System) domainNames() []string {
	var names []string
	for _, d := range s.Domains {
		names = append(names, d.Name.Value)
	}
	return names
}

func (s *System) ringNames() []string {
	var names []string
	for _, r := range s.Rings {
		names = append(names, r.Name.Value)
	}
	return names
}
