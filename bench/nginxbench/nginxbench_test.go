package nginxbench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		v    []float64
		q    float64
		want float64
	}{
		{[]float64{7}, .5, 7},
		{[]float64{7}, 1, 7},
		{[]float64{3, 1, 2}, .5, 2},
		{[]float64{4, 1, 3, 2}, .5, 2.5},
		{[]float64{4, 1, 3, 2}, 0, 1},
		{[]float64{4, 1, 3, 2}, 1, 4},
		{[]float64{0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100}, .1, 10},
		{[]float64{0, 100}, .1, 10},
	} {
		given := slices.Clone(c.v)
		if got := quantile(c.v, c.q); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("quantile %v of %v: %v, want %v", c.q, c.v, got, c.want)
		}
		if !slices.Equal(c.v, given) {
			t.Errorf("%v has become %v", given, c.v)
		}
	}
}

// A round counts for all or for none, processor time only where it is told.
func TestNote(t *testing.T) {
	plain, ward := &server{}, &server{}
	b := &bench{servers: []*server{plain, ward}}
	for _, turn := range [][2][2]float64{ // plain and Ward: requests a second, ns a request
		{{100, 10}, {90, 12}},
		{{100, 10}, {0, 0}}, // an answer to nobody at Ward
		{{0, 0}, {80, 14}},
		{{200, 0}, {100, 0}}, // a kernel that does not tell
		{{50, 20}, {50, 16}},
	} {
		for i, s := range b.servers {
			s.last.rate, s.last.cpu = turn[i][0], turn[i][1]
		}
		b.note()
	}
	if want := []float64{100, 200, 50}; !slices.Equal(plain.rates, want) {
		t.Errorf("rates without Ward: %v, want %v", plain.rates, want)
	}
	if want := []float64{90, 100, 50}; !slices.Equal(ward.rates, want) {
		t.Errorf("rates with Ward: %v, want %v", ward.rates, want)
	}
	r := ward.to(plain, Result{Bench: "nginx", Files: kept})
	if r.Bench != "nginx" || r.Files != kept || r.Ward != 90 || r.Plain != 100 {
		t.Errorf("%+v", r)
	}
	if r.Ratio != .9 { // of 0.9, 0.5 and 1: the median of the rounds' ratios, not the ratio of the medians
		t.Errorf("ratio %v", r.Ratio)
	}
	if math.Abs(r.WardCPU-12.4) > 1e-9 || math.Abs(r.PlainCPU-11) > 1e-9 || math.Abs(r.CPURatio-11/12.4) > 1e-9 {
		t.Errorf("processor time %v and %v, ratio %v", r.WardCPU, r.PlainCPU, r.CPURatio)
	}
}

// Where the kernel tells no processor time, none is made up.
func TestWithoutProcessorTime(t *testing.T) {
	plain, ward := &server{rates: []float64{10}}, &server{rates: []float64{5}, cpu: []float64{3}}
	if r := ward.to(plain, Result{}); r.Ratio != .5 || r.WardCPU != 0 || r.PlainCPU != 0 || r.CPURatio != 0 {
		t.Errorf("%+v", r)
	}
}

func TestProcessor(t *testing.T) {
	self := &server{pid: os.Getpid()}
	before, ok := self.processor()
	if !ok {
		t.Skip("this kernel tells no processor time of processes: CONFIG_SCHED_INFO, CONFIG_PROC_CHILDREN")
	}
	if after, ok := self.processor(); !ok || before <= 0 || after < before {
		t.Errorf("%d ns, then %d", before, after)
	}
	if _, ok := (&server{pid: math.MaxInt32}).processor(); ok {
		t.Error("a process that there is none of has processor time")
	}
}

func TestConfig(t *testing.T) {
	for _, files := range []string{opened, kept} {
		// The directories that nginx wants.
		dir := t.TempDir()
		tmp := filepath.Join(dir, "tmp")
		for _, d := range []string{tmp, filepath.Join(dir, "web")} {
			if err := os.Mkdir(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		port, err := freePort()
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{files: files, dir: dir}
		path, err := b.config(&server{port: port}, tmp)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text := string(data)
		for _, want := range []string{"listen 127.0.0.1:" + port + ";", "root " + dir + "/web;", "pid " + tmp + "/pid;"} {
			if !strings.Contains(text, want) {
				t.Errorf("files %s: no %q in\n%s", files, want, text)
			}
		}
		if strings.Contains(text, "%!") || strings.Contains(text, "open_file_cache") != (files == kept) {
			t.Errorf("files %s:\n%s", files, text)
		}
		if _, err := os.Stat(Program); err != nil {
			continue // nobody is there to say what nginx makes of it
		}
		if out, err := exec.Command(Program, "-t", "-c", path, "-e", "stderr").CombinedOutput(); err != nil {
			t.Errorf("files %s: nginx refuses it: %v\n%s", files, err, out)
		}
	}
}

// answerer answers each request on one connection with what the test gives it.
func answerer(t *testing.T, answer func(n int) string) net.Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		r := bufio.NewReader(c)
		for n := 1; ; n++ {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			if _, err := c.Write([]byte(answer(n))); err != nil {
				return
			}
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func answerOf(status string, size int) string {
	return fmt.Sprintf("HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s", status, size, strings.Repeat("x", size))
}

// Only the whole file is an answer; its length is that of head and body.
func TestLearn(t *testing.T) {
	good := answerOf("200 OK", 512)
	for _, c := range []struct {
		what, answer string
		want         int
	}{
		{"the file", good, len(good)},
		{"a part of it", answerOf("200 OK", 511), 0},
		{"more than that", answerOf("200 OK", 513), 0},
		{"none", answerOf("404 Not Found", 512), 0},
		{"no HTTP", "220 mail ready\r\n\r\n", 0},
	} {
		n, err := learn(answerer(t, func(int) string { return c.answer }), oneFile(512).pages)
		if err == nil != (c.want > 0) || err == nil && !slices.Equal(n, []int{c.want}) || strings.Contains(fmt.Sprint(err), "%!") {
			t.Errorf("%s: %d, %v", c.what, n, err)
		}
	}
}

// Each page of a site is asked for once.
func TestLearnAll(t *testing.T) {
	var pages []page
	var answers []string
	var want []int
	for i := range 5 {
		size := 1 << (3 * i)
		pages, answers = append(pages, page{fmt.Sprint(i), size}), append(answers, answerOf("200 OK", size))
		want = append(want, len(answers[i]))
	}
	got, err := learn(answerer(t, func(n int) string { return answers[n-1] }), pages)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("answers of %d bytes, want %d; %v", got, want, err)
	}
}

// Each answer counts once, and one that is none ends the turn.
func TestLoad(t *testing.T) {
	good := answerOf("200 OK", 16)
	s := &server{site: oneFile(16), answers: []int{len(good)}}
	draw := s.site.draw(0, 0)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const last = 5
	c := answerer(t, func(n int) string {
		if n == last {
			cancel()
		}
		return good
	})
	var count atomic.Int64
	if err := s.load(ctx, c, draw, &count); err != nil || count.Load() != last {
		t.Errorf("%d answers, want %d; %v", count.Load(), last, err)
	}

	count.Store(0)
	c = answerer(t, func(n int) string {
		if n == last {
			return answerOf("503 Overloaded", 16)
		}
		return good
	})
	if err := s.load(t.Context(), c, draw, &count); err == nil || !strings.Contains(err.Error(), "503") || count.Load() != last-1 {
		t.Errorf("%d answers, want %d; %v", count.Load(), last-1, err)
	}
}

func TestDefaults(t *testing.T) {
	o := Options{Rounds: 3}
	o.defaults()
	if o.Rounds != 3 || o.Size != 4096 || o.Connections != 8 || o.Turn <= 0 || o.Progress == nil {
		t.Errorf("%+v", o)
	}
}

// nginx gets a processor, the load the others, and nobody both.
func TestSplit(t *testing.T) {
	var mine unix.CPUSet
	if err := unix.SchedGetaffinity(0, &mine); err != nil {
		t.Fatal(err)
	}
	nginx, load, ok, err := split()
	if err != nil {
		t.Fatal(err)
	}
	if mine.Count() == 1 {
		if ok || load != mine {
			t.Errorf("one processor is divided: %v and %v, %v", nginx, load, ok)
		}
		return
	}
	if !ok || nginx.Count() != 1 || load.Count() != mine.Count()-1 {
		t.Errorf("of %d processors nginx has %d, the load %d, %v", mine.Count(), nginx.Count(), load.Count(), ok)
	}
	for i := range nginx {
		if nginx[i]&load[i] != 0 || nginx[i]|load[i] != mine[i] {
			t.Errorf("word %d: %x and %x of %x", i, nginx[i], load[i], mine[i])
		}
	}
}

// All threads of a process are moved, and those that they make then.
func TestPin(t *testing.T) {
	nginx, _, ok, err := split()
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		t.Skip("needs two processors")
	}
	c := exec.Command("sh", "-c", "sleep 60 & read go; sleep 60 & wait")
	then, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		c.Wait()
	}()
	s := &server{pid: c.Process.Pid, name: "of the test"}
	b := &bench{servers: []*server{s}}
	back, ok, err := b.apart()
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	defer back()
	if _, err := then.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	for {
		pids, err := s.processes()
		if err != nil {
			t.Fatal(err)
		}
		for _, pid := range pids {
			var set unix.CPUSet
			if err := unix.SchedGetaffinity(pid, &set); err != nil {
				t.Fatal(err)
			}
			if set != nginx {
				t.Errorf("process %d may run on %d processors", pid, set.Count())
			}
		}
		if len(pids) == 3 {
			break
		}
	}
	var mine unix.CPUSet
	if err := errors.Join(unix.SchedGetaffinity(os.Getpid(), &mine), back()); err != nil {
		t.Fatal(err)
	}
	for i := range mine {
		if mine[i]&nginx[i] != 0 {
			t.Error("the load has nginx's processor, too")
		}
	}
	if err := unix.SchedGetaffinity(os.Getpid(), &mine); err != nil {
		t.Fatal(err)
	}
	if mine.Count() < 2 {
		t.Error("the load was not put back")
	}
}
