package compile

import (
	"io/fs"
	"slices"

	"ward/diag"
	"ward/image"
	"ward/interfaces"
	"ward/models"
	"ward/policy"
	"ward/system"
)

// Result is a compiled system.
type Result struct {
	Image   *image.Image // nil if there is an error
	System  *system.System
	Set     *interfaces.Set
	Sources []policy.Source // the policies as they were read
	Library []policy.Source // those of the models in use
	Schema  string          // Cedar's schema of the system's policies
}

// Dir compiles a system directory. The result is never nil; if the list has
// errors its Image is. Findings are sorted. Options are those of policy.Compile.
func Dir(fsys fs.FS, options ...policy.Option) (*Result, diag.List) {
	return With(fsys, nil, options...)
}

// With is Dir with policies beside those that system.yaml names.
func With(fsys fs.FS, beside []policy.Source, options ...policy.Option) (*Result, diag.List) {
	return load(fsys, nil, beside, options)
}

// Pinned is Dir with the digests of programs, in the form of the key `digest`,
// by the names of domains, in place of those that system.yaml states.
func Pinned(fsys fs.FS, digests map[string]string, options ...policy.Option) (*Result, diag.List) {
	return load(fsys, digests, nil, options)
}

func load(fsys fs.FS, digests map[string]string, beside []policy.Source, options []policy.Option) (*Result, diag.List) {
	sys, findings := system.Load(fsys)
	for _, d := range sys.Domains {
		if digest := digests[d.Name.Value]; digest != "" {
			d.Digest = system.String{Value: digest, Pos: d.Pos}
		}
	}
	set, more := interfaces.Load(fsys, sys.Interfaces)
	findings = append(findings, more...)
	var sources []policy.Source
	for _, p := range sys.Policy {
		if text, ok := system.ReadText(fsys, p.Value, p.Pos, &findings); ok {
			sources = append(sources, policy.Source{Name: p.Value, Text: string(text)})
		}
	}
	sources = append(sources, beside...)
	r := &Result{System: sys, Set: set, Sources: sources}
	if findings.Failed() {
		findings = append(findings, policy.Syntax(sources)...)
		findings.Sort()
		return r, findings
	}
	library, list := models.Policies(sys, set)
	findings = append(findings, list...)
	if list.Failed() {
		findings = append(findings, policy.Syntax(sources)...)
		findings.Sort()
		return r, findings
	}
	for _, m := range library {
		r.Library = append(r.Library, policy.Source(m))
	}
	r.Image, list = policy.Compile(sys, set, slices.Concat(sources, r.Library), options...)
	findings = append(findings, list...)
	if r.Image != nil {
		r.Schema = policy.Schema(sys, set)
	}
	findings.Sort()
	return r, findings
}
