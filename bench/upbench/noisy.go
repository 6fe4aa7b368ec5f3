package upbench

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"ward/gate"
)

// The domains of Neighbour: all know from their command line when the first
// phase begins (CLOCK_BOOTTIME) and how long each takes. In even phases the
// noisy one is quiet; in odd ones it does one kind of harm after the other.

// harms are what a noisy domain does, until the time is over.
var harms = []struct {
	name string
	do   func(ctx context.Context, d *gate.Domain)
}{
	{"calls", func(ctx context.Context, d *gate.Domain) { flood(ctx, d, "other") }},
	{"calls to the same server", func(ctx context.Context, d *gate.Domain) { flood(ctx, d, "server") }},
	{"forks", func(ctx context.Context, _ *gate.Domain) { bomb(ctx, "spin") }},
	{"memory", func(ctx context.Context, _ *gate.Domain) { bomb(ctx, "eat") }},
	{"descriptors", func(ctx context.Context, _ *gate.Domain) { bomb(ctx, "open") }},
}

// atOnce are how many children of a kind are there at a time, if the quota allows it.
var atOnce = map[string]int{"spin": 4096, "eat": 2, "open": 2}

// A schedule says which phase it is.
type schedule struct {
	begin  int64 // CLOCK_BOOTTIME, ns
	phase  time.Duration
	rounds int // of all harms
}

func (s schedule) args() []string {
	return []string{strconv.FormatInt(s.begin, 10), strconv.FormatInt(int64(s.phase), 10), strconv.Itoa(s.rounds)}
}

func parseSchedule(args []string) (s schedule, err error) {
	if len(args) != 3 {
		return s, fmt.Errorf("a schedule of %d words", len(args))
	}
	if s.begin, err = strconv.ParseInt(args[0], 10, 64); err != nil {
		return s, err
	}
	n, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return s, err
	}
	s.phase = time.Duration(n)
	s.rounds, err = strconv.Atoi(args[2])
	return s, err
}

// now is the phase, -1 before the first, and how much of it has passed.
func (s schedule) now() (phase int, passed time.Duration) {
	d := boottime() - s.begin
	if d < 0 {
		return -1, 0
	}
	return int(d / int64(s.phase)), time.Duration(d % int64(s.phase))
}

func (s schedule) phases() int { return 2 * len(harms) * s.rounds }

// until returns a context that ends when a phase begins.
func (s schedule) until(ctx context.Context, phase int) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, time.Duration(s.begin+int64(phase)*int64(s.phase)-boottime()))
}

// harmOf is the harm that is done in a phase; -1: none.
func harmOf(phase int) int {
	if phase < 0 || phase%2 == 0 {
		return -1
	}
	return phase / 2 % len(harms)
}

func boottime() int64 {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return ts.Nano()
}

// noisy does harm by the schedule.
func noisy(ctx context.Context, s schedule) error {
	d, err := gate.Self()
	if err != nil {
		return err
	}
	warm()
	for {
		phase, _ := s.now()
		if phase >= s.phases() || ctx.Err() != nil {
			<-ctx.Done()
			return nil
		}
		end, cancel := s.until(ctx, phase+1)
		if h := harmOf(phase); h >= 0 {
			harms[h].do(end, d)
		}
		<-end.Done()
		cancel()
	}
}

// flood calls a server with sixteen calls under way.
func flood(ctx context.Context, d *gate.Domain, server string) {
	c, err := d.Open(ctx, iface, gate.At(server))
	if err != nil {
		return
	}
	defer c.Close()
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for ctx.Err() == nil {
				c.Invoke(ctx, "Greet", greeting, nil)
			}
		})
	}
	wg.Wait()
}

var greeting = protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "good morning")

// bomb does harm by another process: where that runs into its quota it may
// crash, and the next one goes on.
func bomb(ctx context.Context, what string) {
	for ctx.Err() == nil {
		cmd := exec.CommandContext(ctx, os.Args[0], argument, "bomb", what)
		cmd.Run()
	}
}

// warm makes threads ahead: Go's runtime ends a process that cannot have one more.
func warm() {
	var all, wg sync.WaitGroup
	all.Add(threads)
	for range threads {
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			all.Done()
			all.Wait()
		})
	}
	wg.Wait()
}

const threads = 24

// children starts so many processes at a time, and others for those that end.
func children(ctx context.Context, what string, n int) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, n)
	for ctx.Err() == nil {
		cmd := exec.CommandContext(ctx, os.Args[0], argument, what)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if cmd.Start() != nil {
			continue // as many as it may have
		}
		slots <- struct{}{}
		wg.Go(func() { cmd.Wait(); <-slots })
	}
	wg.Wait()
}

// spin uses a processor; eat takes memory until it is killed; openAll opens
// descriptors as long as it gets any, and begins again.
func spin() {
	for {
	}
}

func eat() {
	var all [][]byte
	for {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		all = append(all, b)
	}
}

func openAll() {
	for {
		var open []int
		for {
			var fds [2]int
			if unix.Pipe2(fds[:], unix.O_CLOEXEC) != nil {
				break
			}
			open = append(open, fds[0], fds[1])
		}
		for _, fd := range open {
			unix.Close(fd)
		}
	}
}

// A latency is what the bystander found in the phases of one kind.
type latency struct {
	Calls    int
	P50, P99 int64 // ns
}

// settle is the part of a phase, from its beginning, whose calls do not count.
const settle = 5 // one in so many

// bystander calls all the time, and in the end writes what it found: quiet first, then by harm.
func bystander(ctx context.Context, s schedule) error {
	d, err := gate.Self()
	if err != nil {
		return err
	}
	c, err := d.Open(ctx, iface, gate.At("server"), gate.Wait())
	if err != nil {
		return err
	}
	defer c.Close()
	found := make([][]int64, 1+len(harms))
	for ctx.Err() == nil {
		phase, passed := s.now()
		if phase >= s.phases() {
			break
		}
		start := time.Now()
		if _, err := c.Invoke(ctx, "Greet", greeting, nil); err != nil {
			return err
		}
		took := time.Since(start)
		if phase < 0 || passed < s.phase/settle {
			continue
		}
		found[1+harmOf(phase)] = append(found[1+harmOf(phase)], int64(took)) // the phase in which it began
	}
	out := make([]latency, len(found))
	for i, l := range found {
		slices.Sort(l)
		if n := len(l); n > 0 {
			out[i] = latency{Calls: n, P50: l[n/2], P99: l[n*99/100]}
		}
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}
