package nginxbench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

var (
	ask = []byte("GET /file HTTP/1.1\r\nHost: bench\r\n\r\n")
	ok  = []byte("HTTP/1.1 200 ")
)

// turn loads s for a while, and leaves what came of it in last.
func (s *server) turn(whole context.Context, o Options) error {
	s.last.rate, s.last.cpu = 0, 0
	conns := make([]net.Conn, o.Connections)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	for i := range conns {
		c, err := net.Dial("tcp", "127.0.0.1:"+s.port)
		if err != nil {
			return err
		}
		conns[i] = c
		if s.answer == 0 {
			if s.answer, err = learn(c, o.Size); err != nil {
				return err
			}
		}
	}
	ctx, cancel := context.WithTimeout(whole, o.Turn)
	defer cancel()
	var count atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, len(conns))
	used, told := s.processor()
	begin := time.Now()
	for i, c := range conns {
		wg.Go(func() { errs[i] = s.load(ctx, c, &count) })
	}
	wg.Wait()
	took := time.Since(begin)
	after, toldAfter := s.processor()
	if err := errors.Join(append(errs, whole.Err())...); err != nil {
		return err
	}
	if n := float64(count.Load()); n > 0 {
		s.last.rate = n / took.Seconds()
		if told && toldAfter {
			s.last.cpu = float64(after-used) / n
		}
	}
	return nil
}

// learn asks once, and returns how long all the answers are: that spares the
// load from reading them, so that nginx has more to do than its client.
func learn(c net.Conn, size int) (int, error) {
	if _, err := c.Write(ask); err != nil {
		return 0, err
	}
	var all bytes.Buffer
	r, err := http.ReadResponse(bufio.NewReader(io.TeeReader(c, &all)), nil)
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		return 0, fmt.Errorf("answer %s, after %d bytes: %w", r.Status, n, err)
	}
	if r.StatusCode != http.StatusOK || n != int64(size) {
		return 0, fmt.Errorf("answer %s with %d bytes, the file has %d", r.Status, n, size)
	}
	return all.Len(), nil
}

// load asks for the file on one connection until the turn is over.
func (s *server) load(ctx context.Context, c net.Conn, count *atomic.Int64) error {
	answer := make([]byte, s.answer)
	n := int64(0)
	defer func() { count.Add(n) }()
	for ; ctx.Err() == nil; n++ {
		if _, err := c.Write(ask); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, answer); err != nil {
			return err
		}
		if !bytes.HasPrefix(answer, ok) {
			return fmt.Errorf("answer %.40q", answer)
		}
	}
	return nil
}

// processes returns the master and its workers.
func (s *server) processes() ([]int, error) {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", s.pid))
	if err != nil {
		return nil, err
	}
	pids := []int{s.pid}
	for _, f := range strings.Fields(string(children)) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// processor returns the processor time of a server's processes in ns
// (proc(5): schedstat), and whether the kernel tells it.
func (s *server) processor() (ns int64, ok bool) {
	pids, err := s.processes()
	if err != nil {
		return 0, false
	}
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
		if err != nil {
			return 0, false
		}
		used, _, _ := strings.Cut(string(text), " ")
		n, err := strconv.ParseInt(used, 10, 64)
		if err != nil {
			return 0, false
		}
		ns += n
	}
	return ns, true
}
