package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// A lineWriter appends records to the audit file, and numbers them. What the
// disk does not take is counted; a `lost` record says so as soon as it does.
type lineWriter struct {
	out    io.Writer
	seq    uint64
	buf    []byte // whole lines that are not written yet
	lines  uint64 // in buf
	told   uint64 // losses that the first line in buf tells of
	failed uint64 // lines that could not be written
	torn   bool   // the file does not end with a whole line
	now    func() time.Time
}

// add numbers a record and puts it into the buffer.
func (w *lineWriter) add(r Record) {
	if w.failed > 0 && w.lines == 0 {
		w.told, w.failed = w.failed, 0
		w.append(Record{Event: EventLost, Time: w.now(), Lost: w.told, Detail: "could not be written to the audit file"})
	}
	w.append(r)
}

func (w *lineWriter) append(r Record) {
	w.seq++
	r.Seq = w.seq
	line, err := lineOf(r)
	if err != nil {
		line = fmt.Appendf(nil, `{"event":%q,"time":%q,"seq":%d,"lost":1,"detail":"record that is not JSON"}`+"\n", EventLost, r.Time.Format(time.RFC3339Nano), r.Seq)
	}
	w.buf = append(w.buf, line...)
	w.lines++
}

// lineOf is a record as a line of JSON: &, < and > as they are, since no
// browser reads this, and control characters escaped.
func lineOf(r Record) ([]byte, error) {
	var line bytes.Buffer
	e := json.NewEncoder(&line)
	e.SetEscapeHTML(false)
	err := e.Encode(r)
	return line.Bytes(), err
}

// pending is how many bytes flush is going to write.
func (w *lineWriter) pending() int {
	if w.torn && len(w.buf) > 0 {
		return len(w.buf) + 1
	}
	return len(w.buf)
}

// flush writes the buffer with one call, so that a reader sees whole lines.
func (w *lineWriter) flush() {
	if len(w.buf) == 0 {
		return
	}
	var prefix int
	if w.torn {
		w.buf = append([]byte{'\n'}, w.buf...)
		prefix = 1
	}
	n, err := w.out.Write(w.buf)
	if err != nil {
		// The numbers of what is lost stay used: the gap is visible, too.
		whole := uint64(max(0, bytes.Count(w.buf[:n], []byte{'\n'})-prefix))
		w.failed += w.lines - whole
		if whole == 0 && w.told > 0 {
			w.failed += w.told - 1
		}
		w.torn = n > 0 && w.buf[n-1] != '\n' || n == 0 && w.torn
	} else {
		w.torn = false
	}
	w.buf, w.lines, w.told = w.buf[:0], 0, 0
}
