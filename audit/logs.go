package audit

import (
	"cmp"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// logSize is the size at which a domain's log file is replaced, in bytes; the
// one before it is kept.
const logSize = 256 << 10

// logRead is how much of a domain's output is read at a time, in bytes. What
// it writes faster waits in its pipe, and then it waits.
const logRead = 4 << 10

// endedLogs is of how many children of a template that have ended the logs are
// kept: the last ones. A domain that makes children without end would else fill
// the file system of the run directory, which is memory in most places.
const endedLogs = 16

// A log is what one domain writes.
type log struct {
	mu    sync.Mutex // several processes of a domain may have written: one ends, and the next begins
	users int        // of logs: that follow it
	path  string
	file  *os.File
	size  int64
	lost  int64 // bytes that could not be written
	again bool  // go on with the file that is there
}

// write appends to the log. An error of the disk loses the piece, not the log.
func (l *log) write(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.again {
		l.reopen()
	}
	if l.file == nil || l.size+int64(len(b)) > logSize {
		l.rotate()
	}
	if l.file == nil {
		l.lost += int64(len(b))
		return
	}
	n, err := l.file.Write(b)
	l.size += int64(n)
	if err != nil {
		l.lost += int64(len(b) - n)
	}
}

// reopen goes on with the file of a writer before this one.
func (l *log) reopen() {
	l.again = false
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW, 0)
	if err != nil {
		return // there is none
	}
	if st, err := f.Stat(); err == nil {
		l.size = st.Size()
	}
	l.file = f
}

func (l *log) rotate() {
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
	if err := os.Rename(l.path, l.path+".1"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return
	}
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o640)
	if err == nil {
		l.file, l.size = f, 0
	}
}

// maxFollowed is how many processes are remembered whose output was told of. It is told
// of again only as long as something of a process is left: those before have gone.
const maxFollowed = 1 << 14

// logs copies the output of domains to files, one goroutine each, which costs
// no thread while it waits.
type logs struct {
	dir      string
	wait     sync.WaitGroup
	again    bool            // after a writer that died
	followed map[uint32]bool // by the number of the domain's ring
	lives    []uint32        // the same, in their order

	mu    sync.Mutex
	open  map[string]*log     // of domains that write
	wrote map[string]bool     // domains that are no children, and wrote before: the next process goes on where the last one ended
	ended map[string][]string // by template: children that ended, the first one first
}

// follow copies what domain writes to pipe until its end.
// The second time it is told of the same output it closes it.
func (l *logs) follow(domain string, life uint32, pipe *os.File) {
	if l.followed[life] {
		pipe.Close()
		return
	}
	if l.followed == nil {
		l.followed = map[uint32]bool{}
	}
	l.followed[life] = true
	if l.lives = append(l.lives, life); len(l.lives) > maxFollowed {
		delete(l.followed, l.lives[0])
		l.lives = l.lives[1:]
	}
	out := l.join(domain)
	l.wait.Go(func() {
		defer l.leave(domain, out)
		defer pipe.Close()
		buf := make([]byte, logRead)
		for {
			n, err := pipe.Read(buf)
			if n > 0 {
				out.write(buf[:n])
			}
			if err != nil {
				if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
					out.write([]byte("ward: the output of the domain cannot be read any more: " + err.Error() + "\n"))
				}
				return
			}
		}
	})
}

// join returns the log of a domain.
func (l *logs) join(domain string) *log {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.open[domain]
	if out == nil {
		out = &log{path: filepath.Join(l.dir, domain), again: l.again || l.wrote[domain]}
		if l.open == nil {
			l.open, l.wrote, l.ended = map[string]*log{}, map[string]bool{}, map[string][]string{}
		}
		l.open[domain] = out
	}
	out.users++
	return out
}

// leave closes the log of a domain when nobody writes it any more, and removes
// those of children that ended long ago.
func (l *logs) leave(domain string, out *log) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if out.users--; out.users > 0 {
		return
	}
	if out.file != nil {
		out.file.Close()
	}
	delete(l.open, domain)
	template, _, child := strings.Cut(domain, "#")
	if !child {
		l.wrote[domain] = true
		return
	}
	if _, known := l.ended[template]; !known && l.again {
		l.ended[template] = l.left(template, domain)
	}
	l.ended[template] = append(l.ended[template], domain)
	for len(l.ended[template]) > endedLogs {
		path := filepath.Join(l.dir, l.ended[template][0])
		os.Remove(path) // an error: it wrote nothing
		os.Remove(path + ".1")
		l.ended[template] = l.ended[template][1:]
	}
}

// left are the children of a template of which a writer before this one left
// logs, and which do not write any more; the one that wrote last is the last.
func (l *logs) left(template, but string) (names []string) {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return nil
	}
	last := map[string]int64{}
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), ".1")
		if of, _, child := strings.Cut(name, "#"); !child || of != template || name == but || l.open[name] != nil {
			continue
		}
		if info, err := e.Info(); err == nil {
			last[name] = max(last[name], info.ModTime().UnixNano())
		}
	}
	return slices.SortedFunc(maps.Keys(last), func(a, b string) int { return cmp.Compare(last[a], last[b]) })
}

// pollable makes a received pipe one that costs no thread while it is read.
func pollable(f *os.File) (*os.File, error) {
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "output of a domain"), nil
}
