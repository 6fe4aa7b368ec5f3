package audit

import "time"

// Records of denied messages that one sender may have in the file: as many at
// once, and as many a second after that. Others are counted. A program that
// works has few; one that floods would fill the disk, and so lose what others
// would have written there. The records of admitted messages, which the policy
// asks for, are not limited.
const (
	denialBurst = 10000
	denialRate  = 300
)

// tellTime is how often the file tells of what was beyond a budget.
const tellTime = time.Second

// A budget is what one sender has left. The zero value is a full one.
type budget struct {
	used  float64 // of denialBurst
	last  time.Time
	over  uint64 // records beyond it, not told yet
	since time.Time
}

// spend takes one record off the budget, or counts it as one too many.
func (b *budget) spend(now time.Time) bool {
	if !b.last.IsZero() {
		b.used = max(0, b.used-denialRate*now.Sub(b.last).Seconds())
	}
	b.last = now
	if b.used+1 <= denialBurst {
		b.used++
		return true
	}
	if b.over == 0 {
		b.since = now
	}
	b.over++
	return false
}

// due returns how many records were beyond the budget, when it is time to tell.
func (b *budget) due(now time.Time) (n uint64) {
	if b.over > 0 && now.Sub(b.since) >= tellTime {
		return b.rest()
	}
	return 0
}

// rest returns how many have not been told.
func (b *budget) rest() (n uint64) {
	n, b.over = b.over, 0
	return n
}
