package audit

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// logSize is the size at which a domain's log file is replaced, in bytes; the
// one before it is kept.
const logSize = 256 << 10

// logRead is how much of a domain's output is read at a time, in bytes. What
// it writes faster waits in its pipe, and then it waits.
const logRead = 4 << 10

// A log is what one domain writes.
type log struct {
	path  string
	file  *os.File
	size  int64
	lost  int64 // bytes that could not be written
	again bool  // go on with the file that is there
}

// write appends to the log. An error of the disk loses the piece, not the log.
func (l *log) write(b []byte) {
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

// logs copies the output of domains to files, one goroutine each, which costs
// no thread while it waits.
type logs struct {
	dir      string
	wait     sync.WaitGroup
	again    bool            // after a writer that died
	followed map[uint32]bool // by the number of the domain's ring
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
	l.wait.Go(func() {
		defer pipe.Close()
		out := log{path: filepath.Join(l.dir, domain), again: l.again}
		defer func() {
			if out.file != nil {
				out.file.Close()
			}
		}()
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
