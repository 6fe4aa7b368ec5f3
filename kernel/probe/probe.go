// Package probe asks the running kernel which of Ward's mechanisms it has, for
// `ward doctor` and for messages that name what is missing.
//
// Invariants: an answer is yes, no or unknown, never a guess from a version
// number; a probe uses only objects that it makes itself and leaves nothing
// behind; what it could not find out for want of a right is unknown.
package probe

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// An Answer of a probe.
type Answer uint8

const (
	Unknown Answer = iota
	No
	Yes
)

func (a Answer) String() string { return [...]string{"don't know", "no", "yes"}[a] }

// A Mechanism is something of the kernel that Ward builds on.
type Mechanism struct {
	Name    string
	Since   string // Linux version that brought it
	Needed  bool   // Ward does not start a system without it
	Use     string // what Ward does with it
	Without string // what Ward does without it, if it is not needed
	probe   func() (string, error)
}

// A Result is the answer for one mechanism.
type Result struct {
	Mechanism
	Answer Answer
	Detail string // a version, or why it is not known
}

// errNo says that the kernel lacks a mechanism.
var errNo = errors.New("not in this kernel")

// All probes every mechanism, in a fixed order.
func All() []Result {
	var all []Result
	for _, m := range mechanisms {
		all = append(all, m.ask())
	}
	return all
}

func (m Mechanism) ask() Result {
	detail, err := m.probe()
	r := Result{Mechanism: m, Answer: Yes, Detail: detail}
	switch {
	case err == nil:
	case errors.Is(err, errNo), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.ENOPROTOOPT), errors.Is(err, unix.EOPNOTSUPP):
		r.Answer = No
	default:
		r.Answer, r.Detail = Unknown, err.Error()
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
			r.Detail = "needs root to find out"
		}
	}
	return r
}

// Names are those of all mechanisms, in the order of All.
func Names() []string {
	var names []string
	for _, m := range mechanisms {
		names = append(names, m.Name)
	}
	return names
}

// Of probes the mechanisms of these names. One that it does not know, nobody
// knows whether the kernel has.
func Of(names []string) []Result {
	var all []Result
	for _, name := range names {
		i := slices.IndexFunc(mechanisms, func(m Mechanism) bool { return m.Name == name })
		if i < 0 {
			all = append(all, Result{Mechanism: Mechanism{Name: name}, Detail: "not a mechanism that this version knows"})
			continue
		}
		all = append(all, mechanisms[i].ask())
	}
	return all
}

// A Level sums up results.
type Level uint8

const (
	Unsupported Level = iota // something needed is missing
	Floor                    // all that is needed, as on Linux 6.1
	Full                     // everything
)

func (l Level) String() string { return [...]string{"unsupported", "floor", "full"}[l] }

// LevelOf tells the level in force and the names of what is missing. What is
// unknown counts as missing.
func LevelOf(results []Result) (Level, []string) {
	level, missing := Full, []string(nil)
	for _, r := range results {
		switch {
		case r.Answer == Yes:
			continue
		case r.Needed:
			level = Unsupported
		}
		level = min(level, Floor)
		missing = append(missing, r.Name)
	}
	return level, missing
}

// onPair runs a probe on a new SEQPACKET pair.
func onPair(use func(a, b int) (string, error)) (string, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return "", fmt.Errorf("socketpair: %w", err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	return use(fds[0], fds[1])
}
