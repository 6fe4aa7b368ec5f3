// Package admin is how the command line talks to a running monitor: the
// socket monitor.sock in the system's run directory, for root only. Requests
// are single bytes; the monitor parses no text. Answers are lines of JSON, the
// last of which is a Trailer: a monitor may die in the middle of one.
package admin

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Sockets in a run directory.
const (
	Socket = "monitor.sock" // for root: mode 0600
	// OperatorSocket is there for users whom the policy lets reload the system or set
	// its state. Anybody may connect; who it is says the kernel, and what that user
	// may ask the policy.
	OperatorSocket = "operator.sock"
)

// Op is the first byte of a request.
type Op byte

const (
	OpPS       Op = 1  // one Domain a line
	OpDescribe Op = 2  // followed by a domain's index, uint32 little endian: one Domain with its Descriptor
	OpDown     Op = 3  // ordered stop; the answer is its end, when the stop has begun
	OpImage    Op = 4  // the answer is the encoded image that is in force
	OpStates   Op = 6  // one State a line
	OpSetState Op = 7  // see SetState; one State
	OpUpgrade  Op = 12 // start the processes of wardd again, of the program that stands where it was started from; root only; it ends who would answer, so the answer is end of file, or why it is not done
	OpChange   Op = 5  // see Change; descriptor: a sealed image. One Changed
)

// States of a domain.
const (
	Waiting = "waiting" // not started yet
	Running = "running"
	Ending  = "ending" // runs, until it ends or its time of grace is over: a change of the policy took it away
	Ended   = "ended"
	Refused = "refused" // the policy forbids its start
	// Children are made of it; it is not started itself.
	Template = "template"
	// Messages wait in it; it is not started.
	Mail = "mailbox"
)

// A Domain is what `ward ps` shows of a domain.
type Domain struct {
	Index      uint32      `json:"index"`
	Name       string      `json:"domain"`
	State      string      `json:"state"`
	PID        int         `json:"pid,omitempty"`
	UID        uint32      `json:"uid,omitempty"`
	Cgroup     uint64      `json:"cgroup,omitempty"` // cgroup ID; 0: none
	Ring       int32       `json:"ring"`
	RingName   string      `json:"ring_name"`
	Status     *int        `json:"status,omitempty"` // of what ended
	Exit       string      `json:"exit,omitempty"`   // how it ended the last time, in words
	Restarts   uint32      `json:"restarts,omitempty"`
	Ready      bool        `json:"ready"`          // what needs it is started
	Says       string      `json:"says,omitempty"` // of itself, by sd_notify
	Gates      int         `json:"gates"`          // gate ends held
	MayCall    int         `json:"may_call"`       // entry points
	Files      int         `json:"files"`          // granted
	Exports    int         `json:"exports"`
	Denied     uint64      `json:"denied"` // messages
	Allowed    uint64      `json:"allowed"`
	Lost       uint64      `json:"lost"`  // audit records
	Level      string      `json:"level"` // who checks the parameters of messages: kernel or library
	*Child                 // of what a domain has made; nil: of the system
	Mailbox    *Mailbox    `json:"mailbox,omitempty"` // nil: it is none
	Descriptor *Descriptor `json:"descriptor,omitempty"`
}

// Lives reports whether it has a process.
func (d *Domain) Lives() bool { return d.State == Running || d.State == Ending }

// A Descriptor is all that a domain may do.
type Descriptor struct {
	Program string   `json:"program"`
	Digest  string   `json:"digest,omitempty"` // SHA-256, hexadecimal
	Calls   []Call   `json:"calls"`
	Files   []File   `json:"files"`
	Listen  []string `json:"listen"`
	Connect []string `json:"connect"`
	Exports []Export `json:"exports"`
	Quota   Quota    `json:"quota"`
	Hits    Hits     `json:"hits"`
	Held    []Gate   `json:"held"`
	Routes  int      `json:"routes,omitempty"`  // loaded for its children and by delegations
	Traffic *Traffic `json:"traffic,omitempty"` // nil: it does not run
	Objects []Object `json:"objects,omitempty"`

	Children *Offspring `json:"children,omitempty"` // nil: it may have none
	Loans    []Loan     `json:"loans,omitempty"`
}

// A Call is an entry point that some policy permits, perhaps under conditions.
type Call struct {
	Method   string   `json:"method"` // pkg.Service/Method
	To       string   `json:"to"`
	Policies []string `json:"policies"` // permits that can match
	Forbids  []string `json:"forbids,omitempty"`
	Under    []Level  `json:"under,omitempty"` // policies that must permit it, too: of a child its ancestors'
}

// A File is a granted file.
type File struct {
	Path   string `json:"path"`
	Access string `json:"access"` // r, w, x in this order
	AsRoot bool   `json:"as_root,omitempty"`
	Policy string `json:"policy"`
}

// An Export is an interface that may be published.
type Export struct {
	Interface string `json:"interface"`
	Socket    string `json:"socket,omitempty"`
	Serving   bool   `json:"serving"`
	Policy    string `json:"policy"`
}

// Quota are the bounds of a domain that are in force; 0: there is none.
type Quota struct {
	Processes uint32 `json:"processes"` // and threads
	Memory    uint64 `json:"memory"`    // bytes
	CPUWeight uint32 `json:"cpu_weight"`
	CPU       uint32 `json:"cpu,omitempty"`     // percent of one processor
	Files     uint32 `json:"files"`             // open descriptors of one process
	FileSize  uint64 `json:"file_size"`         // bytes of one file
	Disk      uint64 `json:"disk,omitempty"`    // bytes of all files of the host that it may write
	Project   uint32 `json:"project,omitempty"` // that these files belong to
	Tmp       uint64 `json:"tmp"`               // bytes of /tmp
	Gates     uint32 `json:"gates"`
	Routes    uint32 `json:"routes,omitempty"`   // loaded for its children and by delegations; 0: it may have none, or there is no bound
	Pending   uint32 `json:"pending"`            // calls of one gate
	Messages  uint32 `json:"messages,omitempty"` // requests a second
}

// Hits count how often a domain ran into a bound, since the system was started.
type Hits struct {
	Processes uint64 `json:"processes,omitempty"` // that were not made
	Memory    uint64 `json:"memory,omitempty"`    // processes that were killed
	Disk      uint64 `json:"disk,omitempty"`      // how often the kernel said that writes were refused
	Files     uint64 `json:"files,omitempty"`     // processes that had all open that they may
	FileSize  uint64 `json:"file_size,omitempty"` // threads that were refused to write
	Tmp       uint64 `json:"tmp,omitempty"`       // how often it was full
	Gates     uint64 `json:"gates,omitempty"`     // that were refused
	Routes    uint64 `json:"routes,omitempty"`    // gates of its children and by delegations that were refused

	Now []string `json:"now,omitempty"` // keys of system.yaml: of which some of it stands at the bound now
}

// A Gate is a gate that is open now.
type Gate struct {
	Interface string `json:"interface"`
	From      string `json:"from"`
	To        string `json:"to"`
}

// ErrNotRunning: there is no monitor behind the socket.
var ErrNotRunning = errors.New("not running")

// PS asks the monitor of the system in runDir for all its domains. The answer is
// whole, or an error.
func PS(ctx context.Context, runDir string) ([]Domain, error) {
	var all []Domain
	err := list(ctx, runDir, []byte{byte(OpPS)}, func() { all = nil }, func(line []byte) error {
		var d Domain
		if err := json.Unmarshal(line, &d); err != nil {
			return err
		}
		all = append(all, d)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Describe asks for the domain with the given name, with its descriptor.
func Describe(ctx context.Context, runDir, name string) (Domain, error) {
	all, err := PS(ctx, runDir)
	if err != nil {
		return Domain{}, err
	}
	for _, listed := range all {
		if listed.Name != name {
			continue
		}
		var d Domain
		request := binary.LittleEndian.AppendUint32([]byte{byte(OpDescribe)}, listed.Index)
		err := list(ctx, runDir, request, func() { d = listed }, func(line []byte) error { return json.Unmarshal(line, &d) })
		if err != nil {
			return Domain{}, err
		}
		return d, nil
	}
	return Domain{}, fmt.Errorf("no domain %q in the system in %s", name, runDir)
}

// Down asks for an ordered stop. It returns when the stop has begun; the
// socket vanishes when it is complete.
func Down(ctx context.Context, runDir string) error {
	asked := false
	return repeat(ctx, func() error {
		err := ask(ctx, runDir, []byte{byte(OpDown)}, func([]byte) error { return nil })
		if asked && errors.Is(err, ErrNotRunning) {
			return nil // it has ended before it could say that it does
		}
		asked = true
		return err
	})
}

// Upgrade starts the processes of wardd, but for the holder, again: of the
// program that stands now where the running one was started from. Domains and
// gates go on. It returns when the monitor that was asked has ended, or says why not.
func Upgrade(ctx context.Context, runDir string) error {
	err := ask(ctx, runDir, []byte{byte(OpUpgrade)}, func([]byte) error { return nil })
	if errors.Is(err, ErrCut) {
		return nil
	}
	return err
}

// dial connects to the monitor, until the deadline of ctx, or for a while.
func dial(ctx context.Context, runDir string) (*os.File, error) {
	path := filepath.Join(runDir, Socket)
	conn, err := connect(path)
	if errors.Is(err, fs.ErrPermission) {
		if other, e := connect(filepath.Join(runDir, OperatorSocket)); e == nil {
			conn, err = other, nil
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return nil, fmt.Errorf("the system %s is %w", filepath.Base(runDir), ErrNotRunning)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s: only root may ask the monitor, and no policy lets a user: run it through sudo", path)
	case err != nil:
		return nil, silence(path, err)
	}
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	} else {
		conn.SetDeadline(time.Now().Add(10 * time.Second))
	}
	return conn, nil
}

// readAll reads an answer to its end.
func readAll(conn *os.File, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(conn, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("the answer of the monitor has more than %d bytes", limit)
	}
	return b, silence(conn.Name(), err)
}

// ask asks, and gives each line of the answer but its Trailer to each.
func ask(ctx context.Context, runDir string, request []byte, each func([]byte) error) error {
	conn, err := dial(ctx, runDir)
	if err != nil {
		return err
	}
	defer conn.Close()
	path := conn.Name()
	if _, err := conn.Write(request); err != nil {
		return silence(path, err)
	}
	in := bufio.NewReaderSize(conn, 64<<10)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%s: %w", path, ErrCut)
		}
		if err != nil {
			return silence(path, err)
		}
		var last Trailer
		switch err := json.Unmarshal(line, &last); {
		case err == nil && last.Error != "":
			return errors.New(last.Error)
		case err == nil && last.End:
			return nil
		}
		if err := each(line); err != nil {
			return err
		}
	}
}

// connectSeconds bounds the wait for the monitor to take a connection.
const connectSeconds = 5

// connect connects to a stream socket. Package net would come into the
// privileged binary with this package.
func connect(path string) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	// A monitor that is stopped takes no connection: without this, one too many waits for ever.
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: connectSeconds})
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil { // for deadlines
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}
