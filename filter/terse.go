package filter

import (
	"slices"

	"ward/image"
)

// MaxCode is the greatest code of an error from a terse method: the canonical
// ones of gRPC (google.rpc.Code), so that a code is all that passes, four bits.
const MaxCode = 16

// codeMessage is all of a Status that a terse method's errors have.
var codeMessage = image.Message{Name: "ward.v1.Status", Fields: []image.Field{
	{Number: 1, Name: "code", Type: image.Int32, HasRange: true, Min: 0, Max: MaxCode},
}}

// Terse is terse for a client that is no child, by the decision on the replies to it.
func Terse(reply image.Decision, atoms Atoms) bool {
	return terse([]image.Decision{fold(reply, atoms)})
}

// terse reports whether the server's errors on a method carry their code only,
// and they and a stream's end no metadata. Errors and ends are not decided on and
// have no effects, so what a reply may not say, or not without an effect, they
// must not be able to say. So it is where the reply is declared to carry nothing,
// and unless every reply that keeps the bounds passes, without effects. ds are the
// folded decisions on replies, by level.
func terse(ds []image.Decision) bool {
	return slices.ContainsFunc(ds, func(d image.Decision) bool {
		free := slices.ContainsFunc(d.Permit, func(r image.Rule) bool { return r.When.Op == image.True })
		return d.Silent || len(d.Forbid) > 0 || !free || slices.ContainsFunc(d.Permit, func(r image.Rule) bool { return hasEffect(&r) })
	})
}
