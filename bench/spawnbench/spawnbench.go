package spawnbench

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"time"

	"golang.org/x/sys/unix"

	"ward/bench/payload"
	"ward/creator"
	"ward/image"
)

// A Result is one peer's figures. Times are in nanoseconds; Ratio is to plain
// exec, RatioBwrap to bwrap, each of medians; 0: not measured.
type Result struct {
	Bench      string  `json:"bench"`
	Peer       string  `json:"peer"` // exec, ward, "ward, pinned" (a program of 4 MiB, executed from the copy that was hashed), bwrap
	N          int     `json:"n"`
	P50        int64   `json:"p50_ns"`
	P90        int64   `json:"p90_ns"`
	P99        int64   `json:"p99_ns"`
	Ratio      float64 `json:"ratio"`
	RatioBwrap float64 `json:"ratio_bwrap,omitempty"`
}

// uid of the measured domain.
const uid = 0x7ffe0000

// Run starts each peer n times, in turns. bwrap is left out if it is not
// installed. It needs root. ctx ends it early, with its error; progress, if it
// is not nil, is told after each turn how many are done.
func Run(ctx context.Context, n int, progress func(done int)) ([]Result, error) {
	if n < 1 {
		return nil, fmt.Errorf("spawnbench: %d starts; it must be one at least", n)
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("spawnbench: must be root to make domains")
	}
	dir, err := os.MkdirTemp("", "spawnbench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	prog := filepath.Join(dir, "payload")
	code, err := payload.Exit()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(prog, code, 0o755); err != nil {
		return nil, err
	}
	peers := []peer{{"exec", execPeer(prog)}}
	var stops []func() error
	stop := func() (err error) {
		for _, s := range stops {
			err = errors.Join(err, s())
		}
		return err
	}
	large := filepath.Join(dir, "large") // the same program, of the size of one in Go
	if err := os.WriteFile(large, append(code, make([]byte, pinnedSize)...), 0o755); err != nil {
		return nil, err
	}
	for _, w := range []struct {
		name, program string
		pin           bool
	}{{"ward", prog, false}, {"ward, pinned", large, true}} {
		once, stopOne, err := wardPeer(w.program, w.pin, len(stops))
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		stops = append(stops, stopOne)
		peers = append(peers, peer{w.name, once})
	}
	if path, err := exec.LookPath("bwrap"); err == nil {
		peers = append(peers, peer{"bwrap", execPeer(path, bwrapArgs(prog)...)})
	}
	times, err := measure(ctx, peers, n, progress)
	if err := errors.Join(err, stop()); err != nil {
		return nil, err
	}
	return summarize(peers, times), nil
}

// pinnedSize is what a pinned program has beside its few instructions, in bytes.
const pinnedSize = 4 << 20

type peer struct {
	name string
	once func() error
}

// measure lets the peers take turns, after one round that does not count.
func measure(ctx context.Context, peers []peer, n int, progress func(int)) ([][]time.Duration, error) {
	times := make([][]time.Duration, len(peers))
	for round := -1; round < n; round++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if progress != nil {
			progress(max(round, 0))
		}
		for i, p := range peers {
			start := time.Now()
			if err := p.once(); err != nil {
				return nil, fmt.Errorf("spawnbench: %s: %w", p.name, err)
			}
			if d := time.Since(start); round >= 0 {
				times[i] = append(times[i], d)
			}
		}
	}
	return times, nil
}

func summarize(peers []peer, times [][]time.Duration) []Result {
	var out []Result
	var bwrap int64
	for i, p := range peers {
		t := times[i]
		sort.Slice(t, func(a, b int) bool { return t[a] < t[b] })
		at := func(q float64) int64 { return int64(t[min(len(t)-1, int(q*float64(len(t))))]) }
		r := Result{Bench: "spawn", Peer: p.name, N: len(t), P50: at(0.5), P90: at(0.9), P99: at(0.99)}
		if p.name == "bwrap" {
			bwrap = r.P50
		}
		out = append(out, r)
	}
	for i := range out {
		out[i].Ratio = float64(out[i].P50) / float64(out[0].P50)
		if bwrap != 0 {
			out[i].RatioBwrap = float64(out[i].P50) / float64(bwrap)
		}
	}
	return out
}

func execPeer(path string, args ...string) func() error {
	return func() error { return exec.Command(path, args...).Run() }
}

// bwrapArgs asks for what Ward makes, in the way that is fastest for bwrap:
// no reaper of its own, device nodes bound one by one.
func bwrapArgs(prog string) []string {
	args := []string{"--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net", "--unshare-cgroup",
		"--as-pid-1", "--new-session", "--cap-drop", "ALL", "--clearenv", "--hostname", "payload", "--chdir", "/",
		"--perms", "0700", "--size", "16777216", "--tmpfs", "/tmp", "--ro-bind", prog, prog}
	for _, d := range []string{"null", "zero", "full", "random", "urandom"} {
		args = append(args, "--dev-bind", "/dev/"+d, "/dev/"+d)
	}
	return append(args, "--remount-ro", "/", prog)
}

// wardPeer runs a creator, and starts its one domain each time. Each creator
// has a number.
func wardPeer(prog string, pin bool, number int) (once func() error, stop func() error, err error) {
	domain := image.Domain{Name: "payload", Program: prog, Start: image.Verdict{Allow: true}}
	if pin {
		b, err := os.ReadFile(prog)
		if err != nil {
			return nil, nil, err
		}
		sum := sha256.Sum256(b)
		domain.Digest = sum[:]
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	served := make(chan error, 1)
	img := &image.Image{Name: "spawnbench", Domains: []image.Domain{domain}}
	go func() {
		served <- creator.Serve(os.NewFile(uintptr(pair[1]), "creator"), img, creator.Config{UIDBase: uid + uint32(number), Cgroup: fmt.Sprintf("ward-bench.%d.%d", os.Getpid(), number)})
	}()
	client := creator.NewClient(os.NewFile(uintptr(pair[0]), "monitor"))
	control, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	theirs, ours := os.NewFile(uintptr(control[0]), "control"), os.NewFile(uintptr(control[1]), "control")
	null, err := os.OpenFile("/dev/null", os.O_WRONLY, 0)
	if err != nil {
		return nil, nil, err
	}
	once = func() error {
		s, err := client.Start(context.Background(), 0, theirs, null)
		if err != nil {
			return err
		}
		s.Pidfd.Close()
		e, ok := <-client.Exits()
		if !ok || e.Status.ExitStatus() != 0 {
			return fmt.Errorf("the domain ended with %v", e.Status)
		}
		return nil
	}
	stop = func() error {
		err := client.Stop(context.Background())
		theirs.Close()
		ours.Close()
		null.Close()
		return errors.Join(err, <-served)
	}
	return once, stop, nil
}
