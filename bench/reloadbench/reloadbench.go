// Package reloadbench measures how long it takes to swap the filters of many
// open gates from one policy to another: what `ward reload` does in the kernel.
package reloadbench

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing/fstest"
	"time"

	"ward/abi"
	"ward/compile"
	"ward/filter"
	"ward/image"
	"ward/kernel"
)

// Bounds of Options.
const (
	MaxGates  = 4096
	MaxRoutes = 2000
)

// Options says what to measure.
type Options struct {
	Gates    int // open gates
	Routes   int // pairs of filters that they use: one for each client
	Rounds   int
	Progress func(format string, args ...any)
}

// Result is one round.
type Result struct {
	Gates   int   `json:"gates"`
	Routes  int   `json:"routes"`
	Prepare int64 `json:"prepare_ns"` // verifying the new programs; nothing waits for it
	Swap    int64 `json:"swap_ns"`    // from the first program swapped to the last
	Done    int64 `json:"done_ns"`    // from the commit until every filter of the old policy had ended
	Open    int64 `json:"open_ns"`    // of one gate, at the start, on average
}

// Run measures. It needs root.
func Run(ctx context.Context, o Options) (results []Result, err error) {
	if o.Progress == nil {
		o.Progress = func(string, ...any) {}
	}
	var images [2]*image.Image
	for i, text := range []string{"a", "b"} {
		if images[i], err = system(o.Routes, text); err != nil {
			return nil, err
		}
	}
	f, err := kernel.NewFabric(kernel.FabricConfig{Gates: uint32(o.Gates), Programs: uint32(2 * o.Routes)})
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := &bench{f: f, o: o, images: images}
	defer b.close()
	opened, err := b.open(ctx)
	if err != nil {
		return nil, err
	}
	for round := range o.Rounds {
		o.Progress("round %d of %d", round+1, o.Rounds)
		r, err := b.round(ctx, images[(round+1)%2])
		if err != nil {
			return results, err
		}
		r.Open = opened.Nanoseconds() / int64(o.Gates)
		results = append(results, r)
	}
	return results, nil
}

type bench struct {
	f      *kernel.Fabric
	o      Options
	images [2]*image.Image
	ends   []*kernel.Endpoint
	routes []*kernel.Route
	gates  []*kernel.Gate
}

// open opens the gates, and returns how long that took when their routes were loaded.
func (b *bench) open(ctx context.Context) (took time.Duration, err error) {
	server, err := b.f.AddEndpoint(serverID, 0, uint32(b.o.Gates), 1<<16)
	if err != nil {
		return 0, err
	}
	b.ends = append(b.ends, server)
	perRoute := (b.o.Gates + b.o.Routes - 1) / b.o.Routes
	for i := range b.o.Routes {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		b.o.Progress("route %d of %d", i+1, b.o.Routes)
		spec, err := filter.Build(b.images[0], uint32(i), filter.Atoms{User: -1})
		if err != nil {
			return 0, err
		}
		client, err := b.f.AddEndpoint(spec.Client, 0, uint32(perRoute), os.Getpagesize())
		if err != nil {
			return 0, err
		}
		b.ends = append(b.ends, client)
		r, err := b.f.Load(spec, client, server)
		if err != nil {
			return 0, err
		}
		b.routes = append(b.routes, r)
		start := time.Now()
		for range min(perRoute, b.o.Gates-len(b.gates)) {
			g, err := b.f.Open(r)
			if err != nil {
				return 0, err
			}
			b.gates = append(b.gates, g)
		}
		took += time.Since(start)
	}
	return took, nil
}

func (b *bench) round(ctx context.Context, img *image.Image) (Result, error) {
	r := Result{Gates: len(b.gates), Routes: len(b.routes)}
	start := time.Now()
	var changes []kernel.Change
	for i, route := range b.routes {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		spec, err := filter.Build(img, uint32(i), filter.Atoms{User: -1})
		if err != nil {
			return r, err
		}
		changes = append(changes, kernel.Change{Route: route, Spec: spec})
	}
	s, err := b.f.Prepare(changes)
	if err != nil {
		return r, err
	}
	r.Prepare = time.Since(start).Nanoseconds()
	start = time.Now()
	swap, err := s.Commit()
	r.Swap, r.Done = swap.Nanoseconds(), time.Since(start).Nanoseconds()
	return r, err
}

func (b *bench) close() {
	for _, g := range b.gates {
		g.Client.Close()
		g.Server.Close()
		g.Close()
	}
	for _, r := range b.routes {
		r.Close()
	}
	for _, e := range b.ends {
		e.Close()
	}
}

const proto = `syntax = "proto3";
package bench.v1;
service Echo { rpc Say(Text) returns (Text); }
message Text { string text = 1; int32 size = 2; }
`

const serverID abi.DomainID = 0

// system compiles a server with so many clients, which may say one thing each.
// Its routes are in the order of the clients.
func system(clients int, text string) (*image.Image, error) {
	var yaml, cedar strings.Builder
	yaml.WriteString("ward: 1\nname: bench\ninterfaces: [echo.proto]\npolicy: [policy.cedar]\ndomains:\n  server: {program: /bin/true, exports: [bench.v1.Echo]}\n")
	for i := range clients {
		fmt.Fprintf(&yaml, "  client%d: {program: /bin/true}\n", i)
	}
	fmt.Fprintf(&cedar, "@id(\"say\") permit (principal is Domain, action == bench::v1::Action::\"Echo.Say\", resource == Domain::\"server\")\nwhen { context.text == %q && context.size < 100 };\n", text)
	r, findings := compile.Dir(fstest.MapFS{"system.yaml": {Data: []byte(yaml.String())}, "echo.proto": {Data: []byte(proto)}, "policy.cedar": {Data: []byte(cedar.String())}})
	if r.Image == nil {
		return nil, fmt.Errorf("the system of the benchmark does not compile: %v", findings)
	}
	img := r.Image
	var routes []image.Route // without those to the name server
	for _, x := range img.Routes {
		if x.Server == serverID && x.Client != abi.NoDomain {
			routes = append(routes, x)
		}
	}
	if len(routes) != clients {
		return nil, fmt.Errorf("the system of the benchmark has %d routes, want %d", len(routes), clients)
	}
	img.Routes = routes
	return img, nil
}
