package upbench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"ward/audit"
	"ward/holder/lifeline"
	"ward/holder/link"
	"ward/image"
)

// Options say what to start.
type Options struct {
	Domains  int // with the name server and the server: 3 to MaxDomains
	Slot     int // of the system, as wardd's --slot: its user IDs
	Wardd    string
	Names    string // the name server's program
	Progress func(text string)

	idle   bool                                      // the clients call nobody
	system func(program string) string               // the domains, instead; nil: a server and clients
	policy string                                    // that of the system, further
	proto  string                                    // …
	during func(ctx context.Context, w *wardd) error // instead of waiting for the calls
	limit  time.Duration                             // 0: limit
}

// Bounds of Options.Domains.
const (
	MinDomains = 3
	MaxDomains = 1000
)

// limit is how long the system may take to start and to call.
const limit = 2 * time.Minute

// stopLimit is how long wardd may take to stop before it is killed.
const stopLimit = 20 * time.Second

// A Result is one run. Times are in nanoseconds from the start of wardd.
type Result struct {
	Bench     string    `json:"bench"` // "up"
	Domains   int       `json:"domains"`
	Started   int64     `json:"started_ns"`  // all domains run
	Answered  int64     `json:"answered_ns"` // every client has had its answer
	Calls     int       `json:"calls"`
	RSS       int       `json:"rss_kib"` // of wardd's processes together, after the calls
	PSS       int       `json:"pss_kib"`
	Processes []Process `json:"processes"`

	following
}

// Run starts the system, measures it and stops it. It needs root. ctx ends it
// early, with its error.
func Run(ctx context.Context, o Options) (result Result, err error) {
	if o.Domains < MinDomains || o.Domains > MaxDomains {
		return result, fmt.Errorf("upbench: %d domains; it can be %d to %d", o.Domains, MinDomains, MaxDomains)
	}
	if o.limit == 0 {
		o.limit = limit
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.limit, fmt.Errorf("upbench: not all had started and called within %v", o.limit))
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		return result, err
	}
	dir, err := os.MkdirTemp("", "upbench-")
	if err != nil {
		return result, err
	}
	defer os.RemoveAll(dir)
	o.Progress("compiling")
	name := "upbench-" + strconv.Itoa(os.Getpid())
	img, err := makeSystem(dir, name, self, &o)
	if err != nil {
		return result, err
	}
	o.Progress(fmt.Sprintf("starting %d domains", o.Domains))
	w, err := start(o, img, filepath.Join(dir, "run"))
	if err != nil {
		return result, err
	}
	defer func() {
		o.Progress("stopping")
		err = errors.Join(err, w.stop())
	}()
	result = Result{Bench: "up", Domains: o.Domains}
	followed := make(chan following, 1)
	if o.idle {
		go func() { followed <- w.starts(ctx, o.Domains) }()
	}
	select {
	case err := <-w.ready:
		if err != nil {
			return result, err
		}
	case <-ctx.Done():
		return result, context.Cause(ctx)
	}
	result.Started = time.Since(w.begin).Nanoseconds()
	if o.during != nil {
		return result, o.during(ctx, w)
	}
	if o.idle {
		result.following = <-followed // ctx ends it
		err = result.following.err
	} else {
		o.Progress("waiting for their calls")
		result.Calls, result.Answered, err = w.answers(ctx, o.Domains-2)
	}
	if err != nil {
		return result, err
	}
	if result.Processes, err = measure(w.cmd.Process.Pid); err != nil {
		return result, err
	}
	for _, p := range result.Processes {
		result.RSS += p.RSS
		result.PSS += p.PSS
	}
	return result, nil
}

// wardd is the running privileged side.
type wardd struct {
	cmd    *exec.Cmd
	life   *os.File
	dir    string
	begin  time.Time
	stderr bytes.Buffer
	ready  chan error
	ended  chan error
}

func start(o Options, img *image.Image, dir string) (*wardd, error) {
	sealed, err := link.Seal(image.Encode(img))
	if err != nil {
		return nil, err
	}
	defer sealed.Close()
	ours, theirs, err := lifeline.New()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	w := &wardd{life: ours, dir: dir, ready: make(chan error, 1), ended: make(chan error, 1)}
	w.cmd = exec.Command(o.Wardd, "--name="+img.Name, "--run-dir="+dir, "--slot="+strconv.Itoa(o.Slot), "--names-program="+o.Names)
	w.cmd.ExtraFiles = []*os.File{sealed, theirs}
	w.cmd.Stderr = &w.stderr
	w.cmd.Dir = "/"
	// A process group of its own: Ctrl-C on the terminal is for this program.
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	w.begin = time.Now()
	if err := w.cmd.Start(); err != nil {
		ours.Close()
		return nil, err
	}
	go w.reports()
	go func() { w.ended <- w.cmd.Wait() }()
	return w, nil
}

// reports tells ready when the domains run, or why they do not.
func (w *wardd) reports() {
	for {
		r, err := lifeline.Read(w.life)
		switch {
		case err == nil && r.Kind == lifeline.Ready:
			err = nil
		case err == nil && r.Kind == lifeline.Fatal:
			err = fmt.Errorf("wardd: %s", r.Text)
		case err == nil:
			continue
		default:
			err = fmt.Errorf("wardd ended: %w", err)
		}
		select {
		case w.ready <- err:
		default: // it was told already
		}
		if err != nil {
			return
		}
	}
}

// answers waits for n answers that were admitted, and returns how many there
// were and when the last one passed.
func (w *wardd) answers(ctx context.Context, n int) (calls int, last int64, err error) {
	for r, err := range audit.Follow(ctx, filepath.Join(w.dir, audit.File), audit.Filter{}) {
		if err != nil {
			return calls, last, err
		}
		switch {
		case r.Event == audit.EventReply && r.Verdict == audit.Allow && r.Method == iface+"/Greet":
			calls++
			last = max(last, r.Time.Sub(w.begin).Nanoseconds())
		case r.Event == audit.EventEnded:
			return calls, last, fmt.Errorf("domain %s ended before all had called", r.Domain)
		case r.Event == audit.EventLost:
			return calls, last, fmt.Errorf("records of %s were lost: the answers cannot be counted", r.Domain+r.From)
		}
		if calls == n {
			return calls, last, nil
		}
	}
	if ctx.Err() != nil {
		return calls, last, context.Cause(ctx)
	}
	return calls, last, fmt.Errorf("the system stopped after %d of %d answers", calls, n)
}

// stop ends wardd, and with it the system, and waits for it.
func (w *wardd) stop() error {
	conn, err := w.life.SyscallConn()
	if err == nil {
		err = conn.Control(func(fd uintptr) { syscall.Shutdown(int(fd), syscall.SHUT_WR) })
	}
	defer w.life.Close()
	timer := time.NewTimer(stopLimit)
	defer timer.Stop()
	select {
	case end := <-w.ended:
		if end != nil {
			return fmt.Errorf("wardd: %w: %s", end, bytes.TrimSpace(w.stderr.Bytes()))
		}
		return err
	case <-timer.C:
		w.cmd.Process.Kill() // its children end with it
		return fmt.Errorf("wardd did not stop within %v, and was killed", stopLimit)
	}
}
