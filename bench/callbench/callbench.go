// Package callbench measures a call between two processes: over a bare socket
// pair, over a gate, over gRPC on a Unix socket, over D-Bus. All peers run in
// the same run and take turns, so ratios mean something where numbers do not.
//
// Invariants: the server of every peer is another process, this program run
// again with an argument that Peer recognises; what is started is ended by its
// process ID; nothing outside a temporary directory is touched.
package callbench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"

	"ward/gate"
)

// Names of the peers.
const (
	Raw   = "raw"        // ping-pong on SOCK_SEQPACKET pairs, blocking reads on locked threads
	Ward  = "ward"       // generated gRPC code on a gate with its filters
	Plain = "unfiltered" // the same on a socket pair without filters
	GRPC  = "grpc"       // the same generated code, gRPC on a Unix socket
	DBus  = "dbus"       // a method call through the system's dbus-daemon, a bus of its own
)

// Options say what to measure. The zero value measures all that the machine has.
type Options struct {
	Peers       []string      // nil: all that can run
	Sizes       []int         // payload bytes; nil: 64, 1024, 32768
	Outstanding []int         // nil: 1, 16
	Rounds      int           // turns of each peer; 0: 5
	Turn        time.Duration // how long one turn takes; 0: 300 ms

	// Gate makes the ends of a filtered gate for the interface of
	// echov1, and returns what removes it. If it is nil the peer Ward is left out.
	Gate func() (client, server gate.End, remove func(), err error)

	// Skipped is told which peer cannot run, and why.
	Skipped func(peer string, why error)

	// Progress is told before each turn how many of all are done, and what comes.
	Progress func(done, total int, what string)
}

// Row is one measurement. Its JSON names are those of `ward bench --json`.
type Row struct {
	Bench       string  `json:"bench"` // "call"
	Peer        string  `json:"peer"`
	Size        int     `json:"size"`
	Outstanding int     `json:"outstanding"`
	P50         int64   `json:"p50_ns"`
	P99         int64   `json:"p99_ns"`
	P999        int64   `json:"p999_ns"`
	Calls       int     `json:"calls"`
	PerSecond   float64 `json:"calls_per_s"`
	Ratio       float64 `json:"ratio"` // p50 to that of the peer "raw" of the same size and outstanding; 0 if that did not run
}

// caller is one client of a peer that is ready to be called. call runs one call
// of size bytes; worker numbers the callers that run at the same time, from 0.
type caller struct {
	call  func(ctx context.Context, worker int, payload []byte) error
	close func()
}

var dialers = map[string]func(context.Context, *Options) (*caller, error){
	Raw: dialRaw, Ward: dialWard, Plain: dialPlain, GRPC: dialGRPC, DBus: dialDBus,
}

func (o *Options) defaults() {
	if o.Peers == nil {
		o.Peers = []string{Raw, Ward, GRPC, DBus}
	}
	if o.Sizes == nil {
		o.Sizes = []int{64, 1 << 10, 32 << 10}
	}
	if o.Outstanding == nil {
		o.Outstanding = []int{1, 16}
	}
	if o.Rounds == 0 {
		o.Rounds = 5
	}
	if o.Turn == 0 {
		o.Turn = 300 * time.Millisecond
	}
	if o.Skipped == nil {
		o.Skipped = func(string, error) {}
	}
	if o.Progress == nil {
		o.Progress = func(int, int, string) {}
	}
}

// maxWorkers is the largest number of outstanding calls.
const maxWorkers = 64

// Run measures. ctx ends it early, with its error.
func Run(ctx context.Context, o Options) ([]Row, error) {
	o.defaults()
	if n := slices.Max(o.Outstanding); n < 1 || n > maxWorkers {
		return nil, fmt.Errorf("callbench: %d outstanding calls; it can be 1 to %d", n, maxWorkers)
	}
	callers := map[string]*caller{}
	defer func() {
		for _, c := range callers {
			c.close()
		}
	}()
	var peers []string
	for _, p := range o.Peers {
		dial := dialers[p]
		if dial == nil {
			return nil, fmt.Errorf("callbench: there is no peer %q", p)
		}
		c, err := dial(ctx, &o)
		if err != nil {
			o.Skipped(p, err)
			continue
		}
		callers[p] = c
		peers = append(peers, p)
	}
	var rows []Row
	done, total := 0, len(o.Outstanding)*len(o.Sizes)*(o.Rounds+1)*len(peers)
	for _, outstanding := range o.Outstanding {
		for _, size := range o.Sizes {
			next := func(peer string) {
				o.Progress(done, total, fmt.Sprintf("%s, %d bytes, %d outstanding", peer, size, outstanding))
				done++
			}
			some, err := measure(ctx, &o, next, peers, callers, size, outstanding)
			if err != nil {
				return rows, err
			}
			rows = append(rows, some...)
		}
	}
	return rows, nil
}

// measure gives each peer its turns, one after the other, so that what else the
// machine does meets all of them.
func measure(ctx context.Context, o *Options, next func(peer string), peers []string, callers map[string]*caller, size, outstanding int) ([]Row, error) {
	times := map[string][]int64{}
	spent := map[string]time.Duration{}
	for round := -1; round < o.Rounds; round++ { // round -1 warms up
		for _, p := range peers {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			next(p)
			t, d, err := turn(ctx, callers[p], size, outstanding, o.Turn)
			if err != nil {
				return nil, fmt.Errorf("%s, %d bytes, %d outstanding: %w", p, size, outstanding, err)
			}
			if round >= 0 {
				times[p] = append(times[p], t...)
				spent[p] += d
			}
		}
	}
	var rows []Row
	var raw int64
	for _, p := range peers {
		t := times[p]
		slices.Sort(t)
		at := func(q float64) int64 { return t[min(len(t)-1, int(q*float64(len(t))))] }
		r := Row{Bench: "call", Peer: p, Size: size, Outstanding: outstanding, P50: at(0.5), P99: at(0.99), P999: at(0.999),
			Calls: len(t), PerSecond: float64(len(t)) / spent[p].Seconds()}
		if p == Raw {
			raw = r.P50
		}
		rows = append(rows, r)
	}
	for i := range rows {
		if raw > 0 {
			rows[i].Ratio = float64(rows[i].P50) / float64(raw)
		}
	}
	return rows, nil
}

// turn keeps outstanding calls pending for a while, and returns how long each took.
func turn(ctx context.Context, c *caller, size, outstanding int, length time.Duration) ([]int64, time.Duration, error) {
	var mu sync.Mutex
	var all []int64
	var failed error
	var wg sync.WaitGroup
	start := time.Now()
	for w := range outstanding {
		wg.Go(func() {
			payload := bytes.Repeat([]byte{'x'}, size)
			times := make([]int64, 0, 1<<14)
			var err error
			for last := start; err == nil && last.Sub(start) < length; {
				err = c.call(ctx, w, payload)
				now := time.Now()
				times = append(times, int64(now.Sub(last)))
				last = now
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, times...)
			if failed == nil {
				failed = err
			}
		})
	}
	wg.Wait()
	return all, time.Since(start), failed
}

// peerArgument is the first argument of a program that is run again as a server.
const peerArgument = "callbench-peer"

// Peer runs the server of a peer and never returns, if this process was
// started for that. Every main (and TestMain) that calls Run calls it first.
func Peer() {
	if len(os.Args) < 3 || os.Args[1] != peerArgument {
		return
	}
	serve := map[string]func([]string) error{Raw: serveRaw, Ward: serveWard, GRPC: serveGRPC, DBus: serveDBus}[os.Args[2]]
	if serve == nil {
		fmt.Fprintf(os.Stderr, "callbench: there is no peer %q\n", os.Args[2])
		os.Exit(2)
	}
	if err := serve(os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "callbench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// startPeer runs this program again as a server; files become its descriptors from 3.
func startPeer(peer string, files []*os.File, args ...string) (stop func(), err error) {
	cmd := exec.Command("/proc/self/exe", append([]string{peerArgument, peer}, args...)...)
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the server: %w", err)
	}
	return func() {
		cmd.Process.Kill()
		cmd.Wait()
	}, nil
}
