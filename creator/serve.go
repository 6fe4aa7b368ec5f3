package creator

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/image"
	"ward/kernel"
)

// Config says how a creator makes domains.
type Config struct {
	UIDBase uint32 // domain i gets user and group ID UIDBase+i
	Cgroup  string // name of the system's cgroup directory; empty: ward-NAME.PID

	// Again: another creator was there before, and what it made may run. Until Settle says that all of
	// that is known, an error ends this one alone (leave.go).
	Again bool

	// Look is how often it is looked whether a domain stands at a limit of which the kernel
	// tells nobody (look.go), whatever that costs; 0: as often as is cheap. Tests cannot wait that long.
	Look time.Duration

	// Without leaves defences out. Attack tests do, to show what stops an attack, and
	// benchmarks, to show what a defence costs; nothing else may.
	Without kernel.Defence
}

// A creator is the state of the creator process.
type creator struct {
	fd      int
	img     *image.Image
	cfg     Config
	tree    *kernel.CgroupTree // nil: no cgroup v2
	events  *events
	running map[abi.DomainID]*running
	copies  kernel.Copies // of pinned programs
	family  *image.Family // children that run
	looks   looks
	notices notices // told, and perhaps not acted on

	stranger bool // what runs is another's, and not all of it is known
}

// running is a domain that has not been reaped.
type running struct {
	domain  abi.DomainID
	process *kernel.Process
	cgroup  *kernel.Cgroup // nil: none
	guard   *kernel.Guard  // nil: none
	adopted bool           // an earlier creator started it (adopt.go)
	untold  bool           // nobody is told of its end
	until   uint64         // a child's: CLOCK_BOOTTIME ns; 0: no end
}

// A request is one row of the dispatch table.
type request struct {
	files int  // descriptors that must come along
	text  bool // there may be text
	do    func(*creator, message, []*os.File) (end bool, err error)
}

// requests is what may be asked of a creator. An operation without a row is fatal.
var requests = map[op]request{
	opStart:  {files: 2, do: (*creator).start},
	opSignal: {files: 0, do: (*creator).signal},
	opStop:   {files: 0, do: (*creator).stop},
}

// Serve is the creator process: it answers requests on conn until it is told
// to stop or everybody has closed the other end, then kills what it started,
// reaps it, and removes the cgroups. The image must have been checked. An
// error other than of cleaning up means that the asking side broke the protocol;
// after ErrUnserved nothing was killed or removed.
func Serve(conn *os.File, img *image.Image, cfg Config) error {
	defer conn.Close()
	if cfg.UIDBase == 0 || uint64(cfg.UIDBase)+uint64(len(img.Domains)) >= 1<<32 {
		return fmt.Errorf("creator: user IDs from %d on do not fit %d domains", cfg.UIDBase, len(img.Domains))
	}
	c := &creator{fd: int(conn.Fd()), img: img, cfg: cfg, running: map[abi.DomainID]*running{}, family: image.NewFamily(img), stranger: cfg.Again}
	name := cfg.Cgroup
	if name == "" {
		name = fmt.Sprintf("ward-%s.%d", img.Name, os.Getpid())
	}
	var err error
	if c.events, err = newEvents(c.fd); err != nil {
		return err
	}
	defer c.events.close()
	tree, err := openTree(name)
	switch {
	case errors.Is(err, kernel.ErrNoCgroup2):
	case err != nil:
		return fmt.Errorf("creator: %w", err)
	default:
		c.tree = tree
	}
	err = c.loop()
	if left := c.unserved(err); left != nil {
		return left
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, c.end())
}

// openTree makes the system's cgroup directory, or takes it over. An ordinary
// user has none.
func openTree(name string) (*kernel.CgroupTree, error) {
	if _, ok := kernel.SingleUser(); ok {
		return nil, kernel.ErrNoCgroup2
	}
	return kernel.OpenCgroupTree(name)
}

// loop serves until the end. It returns nil after a stop.
func (c *creator) loop() error {
	for {
		ready, err := c.events.wait(c.untilLook(time.Now()))
		if err != nil {
			return err
		}
		// What a domain ran into is told before its end.
		if err := c.report(ready.hits); err != nil {
			return err
		}
		if err := c.reportDisk(ready.disk); err != nil {
			return err
		}
		// Ends first: a request to start the domain again finds it ended.
		for _, id := range ready.ended {
			if r := c.running[id]; r != nil {
				if err := c.reap(r); err != nil {
					return err
				}
			}
		}
		if c.events.alarm != 0 {
			if err := c.endOverdue(); err != nil {
				return err
			}
		}
		if err := c.look(); err != nil {
			return err
		}
		if !ready.request {
			continue
		}
		m, files, err := receive(c.fd)
		if err != nil {
			return err
		}
		end, err := c.dispatch(m, files)
		closeFiles(files)
		if err != nil || end {
			return err
		}
	}
}

func (c *creator) dispatch(m message, files []*os.File) (end bool, err error) {
	r, ok := requests[m.op]
	if !ok || len(files) != r.files || m.seq == 0 || m.text != "" && !r.text {
		return false, fmt.Errorf("creator: %w: operation %d with %d descriptors", errMessage, m.op, len(files))
	}
	return r.do(c, m, files)
}

// fail answers a request that is well-formed but cannot be met.
func (c *creator) fail(m message, format string, args ...any) error {
	return send(c.fd, message{op: opFailed, seq: m.seq, domain: m.domain, text: fmt.Sprintf(format, args...)})
}

func (c *creator) start(m message, files []*os.File) (bool, error) {
	if int64(m.domain) >= int64(len(c.img.Domains)) {
		return false, fmt.Errorf("creator: %w: no domain %d", errMessage, m.domain)
	}
	id := abi.DomainID(m.domain)
	d := &c.img.Domains[id]
	if d.Template {
		return false, c.fail(m, "start %s: it is a template, of which children are made", d.Name)
	}
	if !d.Start.Allow {
		return false, c.fail(m, "start %s: the policy does not allow it", d.Name)
	}
	if c.running[id] != nil {
		return false, c.fail(m, "start %s: it is running", d.Name)
	}
	if c.tree != nil { // a creator that died may have left what nobody knows
		if err := c.tree.Clear(dirName(d.Name, id)); err != nil {
			return false, c.fail(m, "start %s: %v", d.Name, err)
		}
	}
	r, err := c.spawn(id, files[0], files[1])
	if err != nil {
		return false, c.fail(m, "%v", err)
	}
	return c.tellStarted(m, r)
}

// tellStarted answers the request for a domain that has just started.
func (c *creator) tellStarted(m message, r *running) (bool, error) {
	id := r.domain
	c.running[id], c.stranger = r, false
	c.narrowAgain(id) // by what those have that outlived a process of it before
	if err := c.events.add(int(r.process.Pidfd.Fd()), int32(id)); err != nil {
		return false, err
	}
	if err := c.watch(r); err != nil {
		unix.PidfdSendSignal(int(r.process.Pidfd.Fd()), unix.SIGKILL, nil, 0)
		return false, c.fail(m, "start %s: %v", c.family.Def(id).Name, err)
	}
	a := message{op: opStarted, seq: m.seq, domain: m.domain, pid: uint32(r.process.PID), uid: c.uid(id)}
	if r.cgroup != nil {
		a.cgroup = r.cgroup.ID
	}
	extras, err := r.extras(&a)
	defer closeFiles(extras)
	if err != nil {
		unix.PidfdSendSignal(int(r.process.Pidfd.Fd()), unix.SIGKILL, nil, 0)
		return false, c.fail(m, "%v", err)
	}
	return false, send(c.fd, a, append([]*os.File{r.process.Pidfd}, extras...)...)
}

// extras lists what goes to the monitor beside the pidfd, and says so in a.
func (r *running) extras(a *message) ([]*os.File, error) {
	var files []*os.File
	if r.guard != nil {
		ring, err := r.guard.Ring()
		if err != nil {
			return nil, err
		}
		files = append(files, ring)
		a.arg |= hasRing
	}
	if r.process.Notify != nil {
		files = append(files, r.process.Notify)
		r.process.Notify = nil
		a.arg |= hasNotify
	}
	return files, nil
}

func (c *creator) signal(m message, _ []*os.File) (bool, error) {
	r := c.running[abi.DomainID(m.domain)]
	if r == nil {
		return false, c.fail(m, "signal: domain %d does not run", m.domain)
	}
	if m.arg == 0 || m.arg > 64 {
		return false, fmt.Errorf("creator: %w: signal %d", errMessage, m.arg)
	}
	if err := unix.PidfdSendSignal(int(r.process.Pidfd.Fd()), syscall.Signal(m.arg), nil, 0); err != nil && err != unix.ESRCH {
		return false, c.fail(m, "signal %s: %v", c.family.Def(r.domain).Name, err)
	}
	return false, send(c.fd, message{op: opDone, seq: m.seq, domain: m.domain})
}

func (c *creator) stop(m message, _ []*os.File) (bool, error) {
	if err := c.end(); err != nil {
		return true, c.fail(m, "%v", err)
	}
	return true, send(c.fd, message{op: opDone, seq: m.seq})
}

// reap collects a domain that has ended, clears up after it, and tells.
func (c *creator) reap(r *running) error {
	var status unix.WaitStatus
	if err := awaitEnd(r.process.Pidfd); err != nil {
		return fmt.Errorf("creator: wait for %s: %w", c.family.Def(r.domain).Name, err)
	}
	for !r.adopted { // one that is adopted is the holder's to wait for
		_, err := unix.Wait4(r.process.PID, &status, 0, nil)
		if err == nil {
			break
		}
		if err != unix.EINTR {
			return fmt.Errorf("creator: wait for %s: %w", c.family.Def(r.domain).Name, err)
		}
	}
	delete(c.running, r.domain)
	c.unwatch(r)
	r.process.Pidfd.Close()
	var refused uint64
	if r.guard != nil {
		refused, _ = r.guard.Refused() // an error: the audit log ends without the count
	}
	err := r.close()
	c.removeSockets(r.domain)
	c.childEnded(r.domain)
	if r.adopted || r.untold {
		return err
	}
	told := c.tell(message{op: opExited, domain: uint32(r.domain), pid: uint32(r.process.PID), arg: uint32(status), cgroup: refused})
	if errors.Is(told, unix.EPIPE) {
		told = nil // nobody is there to be told; the channel's end of file follows
	}
	return errors.Join(err, told)
}

// end kills and reaps everything that runs and removes the cgroups.
func (c *creator) end() error {
	c.copies.Close()
	var errs []error
	if c.tree != nil {
		errs = append(errs, c.tree.Kill())
	}
	for _, r := range c.running {
		unix.PidfdSendSignal(int(r.process.Pidfd.Fd()), unix.SIGKILL, nil, 0)
	}
	for _, r := range c.running {
		errs = append(errs, c.reap(r))
	}
	if c.tree != nil {
		errs = append(errs, c.tree.Remove())
		c.tree = nil
	}
	return errors.Join(errs...)
}
