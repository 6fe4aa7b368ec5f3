package image

import "ward/abi"

// A Chain is what a gate is held to whose client the image does not know: a
// child that a domain has created, or one that uses a delegation. A message
// passes only if every level admits it: at each level any forbid that matches
// denies, and without a permit that matches it is denied. All levels decide
// before anything happens, and then the effects of all of them do, in one step
// (filter/bpf/effects.h): each charges its buckets to its own sender.
//
// The zero value is no chain: the image's own client, and one level.
type Chain struct {
	// Levels are routes to the same server and interface: that of the child's
	// template, its parent's, and so on up the tree.
	Levels []Level
	Client abi.DomainID // who sends the requests
	// Methods that may be called, by ordinal, sorted; of the others every message is denied.
	Methods []uint32
	Until   uint64 // requests are denied from this time on, CLOCK_BOOTTIME ns; 0: no end
	// Uses, if not 0, is how many requests are admitted in all, over all gates
	// with the same Key and Client. A token that was used does not come back
	// while a gate may live (filter.MaxUntil).
	Uses  uint32
	Key   uint32
	Audit bool // record every request that is admitted
}

// A Level is one policy over a gate.
type Level struct {
	Route  uint32       // index in Image.Routes
	Sender abi.DomainID // whose buckets its requests are charged to
}
