package upbench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"ward/audit"
)

// A NeighbourRow says what one kind of harm of a noisy domain does to the
// calls of a bystander. Times are in nanoseconds.
type NeighbourRow struct {
	Bench string  `json:"bench"` // "neighbour"
	Harm  string  `json:"harm"`  // "none": the noisy domain is quiet
	Calls int     `json:"calls"`
	P50   int64   `json:"p50_ns"`
	P99   int64   `json:"p99_ns"`
	Ratio float64 `json:"ratio"` // of P99 to that of "none"
}

// NeighbourOptions say how long to measure.
type NeighbourOptions struct {
	Options
	Phase  time.Duration // of quiet, and of each harm
	Rounds int           // of all harms
}

// lead is the time for the system to start before the first phase.
const lead = 5 * time.Second

// Neighbour starts a system with a bystander that calls a server all the time,
// and a domain that alternately does nothing and harm. All quotas and weights
// are the defaults, but for the noisy one's memory, 256 MiB.
func Neighbour(ctx context.Context, o NeighbourOptions) (rows []NeighbourRow, err error) {
	s := schedule{begin: boottime() + int64(lead), phase: o.Phase, rounds: o.Rounds}
	o.Domains = 5
	all := lead + time.Duration(s.phases())*o.Phase
	o.system = func(program string) string { return neighbourSystem(program, s) }
	o.during = func(ctx context.Context, w *wardd) error {
		o.Progress(fmt.Sprintf("measuring for %v", all))
		rows, err = w.bystander(ctx)
		return err
	}
	o.limit = all + limit
	_, err = Run(ctx, o.Options)
	return rows, err
}

func neighbourSystem(program string, s schedule) string {
	var y strings.Builder
	args := func(what string) string {
		return strings.Join(append([]string{argument, what}, quoted(s.args())...), ", ")
	}
	for _, server := range []string{"server", "other"} {
		fmt.Fprintf(&y, "  %s: { program: %q, args: [%s, server], exports: [{interface: %s}] }\n", server, program, argument, iface)
	}
	fmt.Fprintf(&y, "  bystander: { program: %q, args: [%s] }\n", program, args("bystander"))
	fmt.Fprintf(&y, "  noisy: { program: %q, args: [%s], root: host, quota: {memory: 256MiB} }\n", program, args("noisy"))
	return y.String()
}

func quoted(list []string) (out []string) {
	for _, s := range list {
		out = append(out, strconv.Quote(s))
	}
	return out
}

// bystander waits until the bystander has ended, and reads what it found.
func (w *wardd) bystander(ctx context.Context) ([]NeighbourRow, error) {
	for r, err := range audit.Follow(ctx, filepath.Join(w.dir, audit.File), audit.Filter{}) {
		if err != nil {
			return nil, err
		}
		if r.Event == audit.EventEnded && r.Domain != "bystander" {
			return nil, fmt.Errorf("domain %s ended", r.Domain)
		}
		if r.Event == audit.EventEnded {
			return w.found()
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, errors.New("the system stopped before the bystander had ended")
}

func (w *wardd) found() (rows []NeighbourRow, err error) {
	text, err := os.ReadFile(filepath.Join(w.dir, audit.LogDir, "bystander"))
	if err != nil {
		return nil, err
	}
	var found []latency
	if at := strings.Index(string(text), "[{"); at < 0 || json.NewDecoder(strings.NewReader(string(text[at:]))).Decode(&found) != nil || len(found) != 1+len(harms) {
		return nil, fmt.Errorf("the bystander said %q", text)
	}
	for i, l := range found {
		harm := "none"
		if i > 0 {
			harm = harms[i-1].name
		}
		rows = append(rows, NeighbourRow{Bench: "neighbour", Harm: harm, Calls: l.Calls, P50: l.P50, P99: l.P99, Ratio: float64(l.P99) / float64(max(1, found[0].P99))})
	}
	return rows, nil
}
