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
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

var ok = []byte("HTTP/1.1 200 ")

// turn loads s for a while, and leaves what came of it in last. Servers that
// are given the same number are asked for the same files in the same order.
func (s *server) turn(whole context.Context, o Options, number int) error {
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
		if s.answers == nil {
			if s.answers, err = learn(c, s.site.pages); err != nil {
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
		wg.Go(func() { errs[i] = s.load(ctx, c, s.site.draw(number, i), &count) })
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

// learn asks for each page once, and returns how long the answers are: that
// spares the load from reading them, so that nginx has more to do than its client.
func learn(c net.Conn, pages []page) (answers []int, err error) {
	var all bytes.Buffer
	in := bufio.NewReader(io.TeeReader(c, &all))
	for _, p := range pages {
		all.Reset()
		if _, err := c.Write(p.ask()); err != nil {
			return nil, err
		}
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			return nil, err
		}
		n, err := io.Copy(io.Discard, r.Body)
		r.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("answer %s to %s, after %d bytes: %w", r.Status, p.path, n, err)
		}
		if r.StatusCode != http.StatusOK || n != int64(p.size) {
			return nil, fmt.Errorf("answer %s to %s with %d bytes, the file has %d", r.Status, p.path, n, p.size)
		}
		answers = append(answers, all.Len())
	}
	return answers, nil
}

// readSize is how much of an answer is read at a time, bytes.
const readSize = 64 << 10

// load asks for what draw says on one connection until the turn is over.
func (s *server) load(ctx context.Context, c net.Conn, draw func() int, count *atomic.Int64) error {
	asks := make([][]byte, len(s.site.pages))
	for i, p := range s.site.pages {
		asks[i] = p.ask()
	}
	buffer := make([]byte, min(slices.Max(s.answers), readSize))
	n := int64(0)
	defer func() { count.Add(n) }()
	for ; ctx.Err() == nil; n++ {
		which := draw()
		if _, err := c.Write(asks[which]); err != nil {
			return err
		}
		left := s.answers[which]
		answer := buffer[:min(left, len(buffer))]
		if _, err := io.ReadFull(c, answer); err != nil {
			return err
		}
		if !bytes.HasPrefix(answer, ok) {
			return fmt.Errorf("answer %.40q to %s", answer, s.site.pages[which].path)
		}
		for left -= len(answer); left > 0; {
			m, err := c.Read(buffer[:min(left, len(buffer))])
			if err != nil {
				return err
			}
			left -= m
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
