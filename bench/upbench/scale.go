package upbench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"ward/audit"
)

// window is how many successive starts a figure is the median of.
const window = 40

// MinScale is how many domains Scale needs at least.
const MinScale = 3 * window

// few is the system that a large one's memory is compared with.
const few = 10

// A ScaleResult says what a domain costs in a large system. Times are in
// nanoseconds, and from the start of one domain to that of the next.
type ScaleResult struct {
	Bench   string  `json:"bench"` // "spawn"
	Domains int     `json:"domains"`
	Tenth   int64   `json:"tenth_ns"` // median of the 40 starts from the 5th on
	Last    int64   `json:"last_ns"`  // … of the last 40
	Ratio   float64 `json:"ratio"`
	Memory  float64 `json:"wardd_kib_domain"` // KiB of PSS that wardd's processes have for each domain, those of a system of 10 taken off
	PSS     int     `json:"pss_kib"`
	RSS     int     `json:"rss_kib"`
	Started int64   `json:"started_ns"` // all domains run
}

// Scale starts a system of many domains that do nothing once they run, and one
// of ten. It needs root. ctx ends it early, with its error.
func Scale(ctx context.Context, o Options) (ScaleResult, error) {
	if o.Domains < MinScale || o.Domains > MaxDomains {
		return ScaleResult{}, fmt.Errorf("upbench: %d domains; it can be %d to %d", o.Domains, MinScale, MaxDomains)
	}
	o.idle = true
	small := o
	small.Domains = few
	base, err := Run(ctx, small)
	if err != nil {
		return ScaleResult{}, err
	}
	r, err := Run(ctx, o)
	if err != nil {
		return ScaleResult{}, err
	}
	s := ScaleResult{Bench: "spawn", Domains: r.Domains, Started: r.Started, PSS: r.PSS, RSS: r.RSS,
		Tenth: median(r.steps[5 : 5+window]), Last: median(r.steps[len(r.steps)-window:]),
		Memory: float64(r.PSS-base.PSS) / float64(r.Domains-few)}
	s.Ratio = float64(s.Last) / float64(s.Tenth)
	return s, nil
}

func median(d []int64) int64 {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

// starts reads when the domains were started, from one to the next.
func (w *wardd) starts(ctx context.Context, n int) (steps []int64, err error) {
	last, seen := w.begin, 0
	for r, err := range audit.Follow(ctx, filepath.Join(w.dir, audit.File), audit.Filter{}) {
		if err != nil {
			return nil, err
		}
		switch r.Event {
		case audit.EventStarted:
			steps = append(steps, r.Time.Sub(last).Nanoseconds())
			last = r.Time
			seen++
		case audit.EventEnded:
			return nil, fmt.Errorf("domain %s ended", r.Domain)
		}
		if seen == n {
			return steps, nil
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, errors.New("the system stopped before all domains had started")
}
