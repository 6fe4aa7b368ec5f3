package policy

import (
	"slices"
	"strings"

	"ward/diag"
	"ward/image"
	"ward/policy/internal/cedar"
	"ward/policy/internal/syntax"
	"ward/system"
)

// A Source is a file of policies.
type Source struct{ Name, Text string }

// maxID is the longest @id, in bytes.
const maxID = 255

// source is a policy as written, with what the passes find out about it.
type source struct {
	*syntax.Policy
	cedar   *cedar.Policy
	id      string
	audit   bool
	effects effects
	index   uint32 // in the image
	scope   *scope

	uses      syntax.Uses // variables in the conditions: what a residual depends on
	residuals map[residualKey]image.Expr
	matched   bool // some rule or verdict came of it
	broken    bool // has an error: not folded
}

// reservedIDs stand for other things in policy tests.
var reservedIDs = []string{"default", "bounds", "rate", "signature", "state"}

// annotations that a policy may carry.
var annotations = []string{"id", "audit", "rate", "enter"}

// readAll reads the policies of all files, in order, and their annotations.
func readAll(files []Source, findings *diag.List) []*source {
	var all []*source
	ids := map[string]diag.Pos{}
	for _, f := range files {
		if len(f.Text) > system.MaxFile {
			findings.Errorf(diag.Pos{File: f.Name}, "split it", "file of %d bytes: the limit is %d", len(f.Text), system.MaxFile)
			continue
		}
		for _, p := range syntax.Parse(f.Name, f.Text, findings) {
			s := &source{Policy: p, residuals: map[residualKey]image.Expr{}}
			s.annotate(ids, findings)
			var err error
			if s.cedar, err = cedar.Read(p); err != nil {
				findings.Errorf(p.Pos, "", "policy is not Cedar: %v", err)
				s.broken = true
			}
			s.findUses()
			all = append(all, s)
		}
	}
	return all
}

// Syntax reports what is wrong with files that can be seen without the system
// that they are for.
func Syntax(files []Source) diag.List {
	var l diag.List
	readAll(files, &l)
	l.Sort()
	return l
}

// annotate reads the annotations. ids are those seen so far.
func (s *source) annotate(ids map[string]diag.Pos, findings *diag.List) {
	for _, a := range s.Annotations {
		switch a.Key {
		case "id":
			s.setID(a, ids, findings)
		case "audit":
			s.audit = a.Value == "allow"
			if !s.audit {
				findings.Errorf(a.ValuePos, `write @audit("allow"): also record what this policy admits; denials are always recorded`, "unknown value %s of @audit", quote(a.Value))
			} else if s.Forbid {
				findings.Errorf(a.Pos, "remove it: denials are always recorded", `@audit("allow") on a forbid, which admits nothing`)
			}
		case "rate":
			s.readRate(a, findings)
		case "enter":
			s.readEnter(a, findings)
		default:
			findings.Errorf(a.Pos, didYouMean(a.Key, annotations, "annotation"), "unknown annotation @%s", a.Key)
		}
	}
	if _, ok := s.Annotation("id"); !ok {
		findings.Errorf(s.Pos, `put @id("…") before it: audit records and tests name policies by it`, "policy without an @id")
	}
}

func (s *source) setID(a syntax.Annotation, ids map[string]diag.Pos, findings *diag.List) {
	s.id = a.Value
	first, twice := ids[a.Value]
	switch {
	case a.Value == "":
		findings.Errorf(a.ValuePos, `give it a name, as in @id("the valid client may fetch pictures")`, "empty @id")
	case twice:
		findings.Errorf(a.ValuePos, "give each policy an @id of its own", "@id %s stands twice, first at %s", quote(a.Value), first)
	case len(a.Value) > maxID || strings.ContainsFunc(a.Value, func(r rune) bool { return r < ' ' || r == 0x7f }):
		findings.Errorf(a.ValuePos, "", "@id of more than %d bytes, or with control characters", maxID)
	case strings.HasPrefix(a.Value, ModelPrefix) && !s.isModel():
		findings.Errorf(a.ValuePos, "choose another", "@id %s: the names of the standard library begin with ward/", quote(a.Value))
	case slices.Contains(reservedIDs, a.Value) || strings.HasPrefix(a.Value, "implied:") || strings.HasPrefix(a.Value, system.FileName+":"):
		findings.Errorf(a.ValuePos, "choose another", "@id %s is kept for verdicts and policies that Ward makes", quote(a.Value))
	default:
		ids[a.Value] = a.ValuePos
	}
}

func (s *source) findUses() {
	for _, c := range s.Conditions {
		s.uses |= c.Body.FindUses()
	}
}
