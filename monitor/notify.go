package monitor

import (
	"bytes"
	"os"
	"strings"
	"unicode"
)

const (
	maxNotify   = 4096 // bytes of a message; the rest is cut off
	maxSays     = 128  // bytes of a status that are kept
	notifyRate  = 20   // messages a second …
	notifyBurst = 40   // … after this many at once: what comes faster waits, and then its sender does
)

// hearNotify reads what a domain says by sd_notify(3), until the domain has
// ended. Only processes of the domain can name the socket: no credentials are
// needed to know that it is it.
func (m *Monitor) hearNotify(d *domain, from *os.File) {
	limit := newBucket(notifyRate, notifyBurst)
	buf := make([]byte, maxNotify)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if !m.work.begin() {
			return
		}
		m.mu.Lock()
		if d.state == stateRunning {
			d.note(buf[:n])
			m.keepNow(d)
		}
		m.mu.Unlock()
		m.work.done()
		limit.wait()
	}
}

// note takes one message: lines of NAME=value. What is not known is ignored,
// as sd_notify(3) wants it.
//
// Preconditions: Monitor.mu is held.
func (d *domain) note(message []byte) {
	for _, line := range bytes.Split(message, []byte("\n")) {
		name, value, _ := strings.Cut(string(line), "=")
		switch {
		case name == "READY" && value == "1":
			d.setReady()
		case name == "STATUS":
			clean := strings.Map(func(r rune) rune {
				if unicode.IsPrint(r) {
					return r
				}
				return -1
			}, strings.ToValidUTF8(value, ""))
			d.says = strings.ToValidUTF8(clean[:min(len(clean), maxSays)], "")
		case name == "STOPPING" && value == "1":
			d.says = "stopping"
		}
	}
}
