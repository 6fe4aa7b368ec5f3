package policy

import (
	"ward/diag"
	"ward/policy/internal/syntax"
)

// An Outline is a policy as people wrote it: what tools show of it.
type Outline struct {
	ID     string
	Pos    diag.Pos // of permit or forbid
	Forbid bool
	Text   string // from the first annotation to the semicolon
	// Whether the scope says anything of the principal, the action, the resource.
	Principal, Action, Resource bool
	Conditions                  int // when and unless
}

// Outlines lists the policies of all files in order. What is not Cedar is left
// out: Compile says what is wrong with it.
func Outlines(files []Source) []Outline {
	var ignored diag.List
	var all []Outline
	for _, f := range files {
		for _, p := range syntax.Parse(f.Name, f.Text, &ignored) {
			id, _ := p.Annotation("id")
			all = append(all, Outline{ID: id.Value, Pos: p.Pos, Forbid: p.Forbid, Text: p.Text, Conditions: len(p.Conditions),
				Principal: p.Principal.Kind != syntax.All, Action: p.Action.Kind != syntax.All, Resource: p.Resource.Kind != syntax.All})
		}
	}
	return all
}
