// Package nginxbench measures nginx as a domain against nginx without Ward:
// the same program, configuration, file and load, by turns in one run, with all
// of them running all the time, and nginx on a processor of its own. Besides requests a second it takes nginx's
// processor time for a request, which other load on the machine moves least.
package nginxbench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"ward/kernel"
)

// Program is what is measured.
const Program = "/usr/sbin/nginx"

// Options of Run; 0: the default.
type Options struct {
	UID         uint32 // of the first domain, and one more for each other; the plain nginx runs as nobody
	Size        int    // bytes of the one file; default 4096
	Connections int    // kept open; default 8
	Rounds      int    // turns of each, in all sittings; default 240
	Sittings    int    // how often all are started anew; default 24
	Turn        time.Duration
	Layers      bool // domains without some defences, too
	Progress    func(string)
}

// A Result compares nginx as a domain with nginx without Ward.
type Result struct {
	Bench   string  `json:"bench"`
	Files   string  `json:"files"`             // "opened": for each request, as nginx does by default; "kept": open_file_cache; "mix": many, opened for each request
	Without string  `json:"without,omitempty"` // defences that the domain was started without
	Pinned  bool    `json:"pinned"`            // nginx had a processor of its own, and the load the others
	Ward    float64 `json:"ward"`              // requests a second, the median of the turns
	Plain   float64 `json:"plain"`             // …
	Ratio   float64 `json:"ratio"`             // the median of the ratios of each round
	// Processor time of nginx for one request, where the kernel tells it: of the
	// turns the lowest tenth's upper end, as disturbance can only add to it.
	WardCPU  float64 `json:"ward_cpu_ns,omitempty"`
	PlainCPU float64 `json:"plain_cpu_ns,omitempty"`
	CPURatio float64 `json:"cpu_ratio,omitempty"` // plain to Ward: the throughput of an nginx that has a processor to itself
}

// layers are what a domain is started without.
var layers = []struct {
	name    string
	without kernel.Defence
}{{"", 0}, {"seccomp", kernel.WithSeccomp}, {"Landlock", kernel.WithLandlock}, {"seccomp, Landlock", kernel.WithSeccomp | kernel.WithLandlock}}

// Run measures with a file opened for each request, with a file kept open, and
// with a mix of files, opened for each request.
func Run(ctx context.Context, o Options) ([]Result, error) {
	o.defaults()
	if o.Rounds < 1 || o.Sittings < 1 {
		return nil, fmt.Errorf("%d rounds in %d sittings: at least one", o.Rounds, o.Sittings)
	}
	if _, err := os.Stat(Program); err != nil {
		return nil, fmt.Errorf("nginx is not there: install it (apt-get install nginx-light): %w", err)
	}
	var out []Result
	for _, files := range []string{opened, kept, mix} {
		r, err := compare(ctx, o, files)
		if err != nil {
			return out, err
		}
		out = append(out, r...)
	}
	return out, nil
}

// compare measures one configuration, in some sittings: where the memory of a
// process came to lie makes a hundredth, as long as it runs.
func compare(ctx context.Context, o Options, files string) ([]Result, error) {
	var all []*server
	pinned := true
	for sitting := range o.Sittings {
		servers, apart, err := sit(ctx, o, files, sitting)
		if err != nil {
			return nil, err
		}
		pinned = pinned && apart
		if all == nil {
			all = servers
			continue
		}
		for i, s := range servers {
			all[i].rates, all[i].cpu = append(all[i].rates, s.rates...), append(all[i].cpu, s.cpu...)
		}
	}
	plain := all[0]
	if len(plain.rates) == 0 {
		return nil, errors.New("no round in which all had an answer: take longer turns")
	}
	var out []Result
	for i, s := range all[1:] {
		out = append(out, s.to(plain, Result{Bench: "nginx", Files: files, Without: layers[i].name, Pinned: pinned}))
	}
	return out, nil
}

// sit starts all servers, measures them for its share of the rounds and ends
// them. It reports whether they had processors of their own.
func sit(ctx context.Context, o Options, files string, sitting int) (_ []*server, pinned bool, err error) {
	b := &bench{o: o, files: files, site: oneFile(o.Size)}
	if files == mix {
		b.site = mixedSite()
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	if err := b.start(); err != nil {
		return nil, false, err
	}
	back, pinned, err := b.apart()
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, back()) }()
	first, last := o.Rounds*sitting/o.Sittings, o.Rounds*(sitting+1)/o.Sittings
	for i := first - 1; i < last; i++ {
		o.Progress(fmt.Sprintf("files %s, %d of %d", files, i+1, o.Rounds))
		for k := range b.servers {
			// Who is first takes turns as well. The first round warms up.
			s := b.servers[(k+i+1)%len(b.servers)]
			if err := s.turn(ctx, o, i); err != nil {
				return nil, false, fmt.Errorf("nginx %s: %w", s.name, err)
			}
		}
		if i >= first {
			b.note()
		}
	}
	return b.servers, pinned, nil
}

// note takes what the last turns brought, unless one of them brought nothing:
// on a busy machine a short turn may pass without an answer.
func (b *bench) note() {
	for _, s := range b.servers {
		if s.last.rate == 0 {
			return
		}
	}
	for _, s := range b.servers {
		s.rates = append(s.rates, s.last.rate)
		if s.last.cpu > 0 {
			s.cpu = append(s.cpu, s.last.cpu)
		}
	}
}

// to fills in r.
func (s *server) to(plain *server, r Result) Result {
	var ratios []float64
	for i := range s.rates {
		ratios = append(ratios, s.rates[i]/plain.rates[i])
	}
	r.Ward, r.Plain, r.Ratio = quantile(s.rates, .5), quantile(plain.rates, .5), quantile(ratios, .5)
	if len(s.cpu) > 0 && len(plain.cpu) > 0 {
		r.WardCPU, r.PlainCPU = quantile(s.cpu, .1), quantile(plain.cpu, .1)
		r.CPURatio = r.PlainCPU / r.WardCPU
	}
	return r
}

func (o *Options) defaults() {
	if o.Size == 0 {
		o.Size = 4096
	}
	if o.Connections == 0 {
		o.Connections = 8
	}
	if o.Rounds == 0 {
		o.Rounds = 240
	}
	if o.Sittings == 0 {
		o.Sittings = min(24, o.Rounds)
	}
	if o.Turn == 0 {
		o.Turn = 100 * time.Millisecond
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
}

// quantile returns the value below which a fraction q of v lies.
func quantile(v []float64, q float64) float64 {
	v = slices.Sorted(slices.Values(v))
	at := q * float64(len(v)-1)
	i := int(at)
	if i+1 == len(v) {
		return v[i]
	}
	return v[i] + (at-float64(i))*(v[i+1]-v[i])
}
