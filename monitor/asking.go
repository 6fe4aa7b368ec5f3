package monitor

import (
	"sync"
	"time"

	"ward/abi"
)

// What is fixed, and no system states, cannot be divided: of a few a child would
// have next to nothing. So each child has as much as any domain, and all that come
// from one domain together as much as kinTimes domains, however many they are.

// kinTimes is how many domains' worth a family has.
const kinTimes = 4

// A sharedBucket bounds the rate of several who wait for themselves.
type sharedBucket struct {
	mu sync.Mutex
	bucket
}

func newSharedBucket(rate, burst float64, now time.Time) *sharedBucket {
	return &sharedBucket{bucket: bucket{rate, burst, burst, now}}
}

// owes takes a part of a token, and returns how long who took it has to wait.
func (b *sharedBucket) owes(n float64, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fillAt(now)
	b.tokens -= n
	return time.Duration(max(0, -b.tokens/b.rate) * float64(time.Second))
}

// asksOf is the bucket of all that come from the domain that a child comes from;
// nil: d is no child.
func (m *Monitor) asksOf(d *domain) *sharedBucket {
	if d.kin == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	root := abi.DomainID(d.payer())
	if m.asks == nil {
		m.asks = map[abi.DomainID]*sharedBucket{}
	}
	if m.asks[root] == nil {
		m.asks[root] = newSharedBucket(kinTimes*controlRate, kinTimes*controlBurst, time.Now())
	}
	return m.asks[root]
}

// lentByFamily is how many delegations a domain, and all that come from what it
// comes from, have given that have not ended.
//
// Preconditions: m.mu is held.
func (m *Monitor) lentByFamily(d *domain) (n int) {
	for _, l := range m.lent {
		if l.from.payer() == d.payer() {
			n++
		}
	}
	return n
}
