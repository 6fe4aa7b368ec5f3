package eval

import (
	"ward/abi"
	"ward/image"
)

// JudgeChain is Judge for a message that several policies stand over: that of
// a child first, then its parent's, and so on up the tree. All must admit it.
// From the root of the tree down, the first that denies is the outcome; the
// lowest names the permit. Effects of all levels happen together, those of the
// root first.
//
// Preconditions: ds is not empty.
func JudgeChain(ds []image.Decision, args Args, client Client, state State) Outcome {
	for i := range ds {
		if len(ds[i].Permit) == 0 { // what is not permitted at all is not looked at
			return Outcome{Verdict: image.Verdict{Policy: abi.NoPolicy}, Reason: abi.ReasonDefault, Audit: true}
		}
	}
	var all Outcome
	for i := len(ds) - 1; i >= 0; i-- {
		o := Judge(&ds[i], args, client, state)
		if !o.Verdict.Allow {
			return o
		}
		o.Effects = append(all.Effects, o.Effects...)
		o.Audit = o.Audit || all.Audit
		all = o
	}
	return all
}
