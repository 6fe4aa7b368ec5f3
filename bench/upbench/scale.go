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
	// Means of an eighth of the starts, at least 40, from the 5th on and of the last.
	CPUTenth Cost    `json:"cpu_tenth"`
	CPULast  Cost    `json:"cpu_last"`
	CPURatio float64 `json:"cpu_ratio"`        // of wardd's
	Memory   float64 `json:"wardd_kib_domain"` // KiB of PSS that wardd's processes have for each domain, those of a system of 10 taken off
	PSS      int     `json:"pss_kib"`
	RSS      int     `json:"rss_kib"`
	Started  int64   `json:"started_ns"` // all domains run
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
	s.CPUTenth, s.CPULast = r.cpu[0], r.cpu[1]
	s.CPURatio = float64(s.CPULast.Wardd) / float64(s.CPUTenth.Wardd)
	return s, nil
}

func median(d []int64) int64 {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

// A following is what was learned of the starts of a system's domains.
type following struct {
	steps []int64 // from one start to the next
	cpu   [2]Cost // of the first ones and of the last; 0 for few domains
	err   error
}

// starts follows the starts of n domains while they happen.
func (w *wardd) starts(ctx context.Context, n int) (f following) {
	last := w.begin
	var pids []int
	var samples []sample
	for r, err := range audit.Follow(ctx, filepath.Join(w.dir, audit.File), audit.Filter{}) {
		switch {
		case err != nil:
			return following{err: err}
		case r.Event == audit.EventLost:
			return following{err: fmt.Errorf("%d records of %s were lost", r.Lost, r.Domain+r.From)}
		case r.Event == audit.EventEnded:
			return following{err: fmt.Errorf("domain %s ended", r.Domain)}
		case r.Event != audit.EventStarted:
			continue
		}
		f.steps, pids, last = append(f.steps, r.Time.Sub(last).Nanoseconds()), append(pids, int(r.PID)), r.Time
		if n >= MinScale && sampled(len(pids), n) {
			cpu, err := wardds(w.cmd.Process.Pid)
			if err != nil {
				return following{err: err}
			}
			samples = append(samples, sample{len(pids), cpu})
		}
		if len(pids) == n {
			if len(samples) == 4 {
				f.cpu = [2]Cost{each(samples[0], samples[1], pids), each(samples[2], samples[3], pids)}
			}
			return f
		}
	}
	if ctx.Err() != nil {
		return following{err: context.Cause(ctx)}
	}
	return following{err: errors.New("the system stopped before all domains had started")}
}
