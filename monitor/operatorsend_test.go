package monitor

import (
	"bytes"
	"runtime"
	"testing"
	"time"
)

// TestOperateAtTheEnd: a change of the policy comes to its end while the system stops. The
// socket of those who may change it is looked at and closed at the same time, and neither may
// hold what the other waits for.
func TestOperateAtTheEnd(t *testing.T) {
	s := startSystem(t, nil)
	s.until("all is started", func() bool { return s.m.started })
	s.m.mu.Lock()
	s.m.Image.Reload = operated().Reload
	s.m.mu.Unlock()
	if err := s.m.operate(); err != nil {
		t.Fatal(err)
	}
	s.m.mu.Lock() // as end does
	s.m.stopping = true
	done := make(chan error)
	go func() { done <- s.m.operate() }()
	for !waitsIn("monitor.(*Monitor).operate(") {
		runtime.Gosched()
	}
	closed := make(chan struct{})
	go func() {
		for _, stop := range s.m.closers {
			stop()
		}
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(wait):
		t.Error("the end waits for a change that waits for the end")
	}
	s.m.closers = nil
	s.m.mu.Unlock()
	if err := <-done; err != nil {
		t.Error(err)
	}
	<-closed
}

// waitsIn reports whether a goroutine waits for a lock in a function.
func waitsIn(function string) bool {
	buf := make([]byte, 1<<20)
	for _, g := range bytes.Split(buf[:runtime.Stack(buf, true)], []byte("\n\n")) {
		if bytes.Contains(g, []byte("[sync.Mutex.Lock")) && bytes.Contains(g, []byte(function)) {
			return true
		}
	}
	return false
}
