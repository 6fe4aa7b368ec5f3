package audit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"time"
)

// A Filter selects records. Empty fields select all.
type Filter struct {
	Domain  string // as Domain, From or To
	Verdict string
	Event   string
	Since   time.Time // not those before
}

// Match reports whether f selects r. Losses are always selected: a filter
// must not hide that something is missing.
func (f Filter) Match(r *Record) bool {
	if r.Time.Before(f.Since) {
		return false
	}
	if r.Event == EventLost {
		return true
	}
	return (f.Domain == "" || f.Domain == r.Domain || f.Domain == r.From || f.Domain == r.To) &&
		(f.Verdict == "" || f.Verdict == r.Verdict) &&
		(f.Event == "" || f.Event == r.Event)
}

// maxLine is the longest line that a reader accepts, in bytes.
const maxLine = 1 << 20

// poll is how often Follow looks for new lines.
const poll = 50 * time.Millisecond

// Read yields the records of the audit file at path that filter selects, up
// to its present end.
func Read(path string, filter Filter) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		f, err := os.Open(path)
		if err != nil {
			yield(Record{}, fmt.Errorf("audit: %w", err))
			return
		}
		defer f.Close()
		lines := lines{file: f}
		for {
			r, err := lines.next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil || filter.Match(&r) {
				if !yield(r, err) || err != nil {
					return
				}
			}
		}
	}
}

// Follow yields the records of the audit file at path that filter selects,
// from its beginning, and then as they are written, until ctx ends or after a
// `stopped` record that is not older than filter.Since. It waits for the file
// to appear, and goes on with a new one that takes its place.
func Follow(ctx context.Context, path string, filter Filter) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		tick := time.NewTicker(poll)
		defer tick.Stop()
		wait := func() bool {
			select {
			case <-ctx.Done():
				return false
			case <-tick.C:
				return true
			}
		}
		for {
			f, err := os.Open(path)
			for errors.Is(err, fs.ErrNotExist) && wait() {
				f, err = os.Open(path)
			}
			if err != nil {
				if ctx.Err() == nil {
					yield(Record{}, fmt.Errorf("audit: %w", err))
				}
				return
			}
			more := followFile(f, filter, wait, yield)
			f.Close()
			if !more {
				return
			}
		}
	}
}

// followFile yields what is in f, and returns true when another file has taken its place.
func followFile(f *os.File, filter Filter, wait func() bool, yield func(Record, error) bool) (more bool) {
	lines := lines{file: f}
	for {
		r, err := lines.next()
		switch {
		case errors.Is(err, io.EOF):
			if replaced(f) {
				return true
			}
			if !wait() {
				return false
			}
			continue
		case err != nil:
			yield(r, err)
			return false
		}
		if filter.Match(&r) && !yield(r, nil) {
			return false
		}
		if r.Event == EventStopped && !r.Time.Before(filter.Since) {
			return false
		}
	}
}

// replaced reports whether the name of f is that of another file by now.
func replaced(f *os.File) bool {
	ours, err := f.Stat()
	if err != nil {
		return false
	}
	theirs, err := os.Stat(f.Name())
	return err == nil && !os.SameFile(ours, theirs)
}

// lines reads whole lines of a file that grows.
type lines struct {
	file *os.File
	buf  *bufio.Reader
	part []byte // of a line whose end is not written yet
}

// next returns the next record, or io.EOF at the present end.
func (l *lines) next() (Record, error) {
	if l.buf == nil {
		l.buf = bufio.NewReaderSize(l.file, 64<<10)
	}
	for {
		piece, err := l.buf.ReadSlice('\n')
		l.part = append(l.part, piece...)
		if len(l.part) > maxLine {
			return Record{}, fmt.Errorf("audit: line of more than %d bytes", maxLine)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return Record{}, err
		}
		break
	}
	line := bytes.TrimSpace(l.part)
	l.part = l.part[:0]
	var r Record
	if err := json.Unmarshal(line, &r); err != nil {
		return Record{}, fmt.Errorf("audit: damaged line %q: %w", clip(line), err)
	}
	return r, nil
}

func clip(b []byte) []byte { return b[:min(len(b), 80)] }
