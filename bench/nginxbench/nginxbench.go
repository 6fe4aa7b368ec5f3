// Package nginxbench measures nginx as a domain against nginx without Ward:
// the same program, configuration, file and load, by turns in one run.
package nginxbench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/creator"
	"ward/image"
)

// Program is what is measured.
const Program = "/usr/sbin/nginx"

// Options of Run; 0: the default.
type Options struct {
	UID         uint32 // of the domain; the plain nginx runs as nobody
	Size        int    // bytes of the file; default 4096
	Connections int    // kept open; default 8
	Rounds      int    // turns of each; default 8
	Turn        time.Duration
	Progress    func(string)
}

// A Result is the throughput of both.
type Result struct {
	Ward  float64 `json:"ward"`  // requests a second, the median of the turns
	Plain float64 `json:"plain"` // …
	Ratio float64 `json:"ratio"` // the median of the ratios of each pair of turns
}

const nobody = 65534

// Run measures.
func Run(ctx context.Context, o Options) (r Result, err error) {
	o.defaults()
	if _, err := os.Stat(Program); err != nil {
		return r, fmt.Errorf("nginx is not there: install it (apt-get install nginx-light): %w", err)
	}
	dir, err := os.MkdirTemp("", "ward-nginx")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	b := &bench{o: o, dir: dir}
	defer func() { err = errors.Join(err, b.stop()) }()
	if err := b.start(); err != nil {
		return r, err
	}
	var ward, plain, ratio []float64
	for i := range o.Rounds {
		o.Progress(fmt.Sprintf("%d of %d", i+1, o.Rounds))
		// Who is first takes turns as well.
		first, second := b.wardPort, b.plainPort
		if i%2 == 1 {
			first, second = second, first
		}
		x, err := b.turn(ctx, first)
		if err != nil {
			return r, err
		}
		y, err := b.turn(ctx, second)
		if err != nil {
			return r, err
		}
		if i%2 == 1 {
			x, y = y, x
		}
		ward, plain, ratio = append(ward, x), append(plain, y), append(ratio, x/y)
	}
	return Result{median(ward), median(plain), median(ratio)}, nil
}

func (o *Options) defaults() {
	if o.Size == 0 {
		o.Size = 4096
	}
	if o.Connections == 0 {
		o.Connections = 8
	}
	if o.Rounds == 0 {
		o.Rounds = 8
	}
	if o.Turn == 0 {
		o.Turn = time.Second
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

type bench struct {
	o                   Options
	dir                 string
	wardPort, plainPort string
	client              *creator.Client
	served              chan error
	plain               *exec.Cmd
	control, output     *os.File
}

// config writes the configuration for a port, with temporary files in tmp.
func (b *bench) config(name, port, tmp string) (string, error) {
	text := fmt.Sprintf(`daemon off; worker_processes 1; pid %[2]s/pid; error_log stderr;
events { worker_connections 512; }
http { access_log off; sendfile on; keepalive_requests 1000000000;
client_body_temp_path %[2]s/b; proxy_temp_path %[2]s/p; fastcgi_temp_path %[2]s/f; uwsgi_temp_path %[2]s/u; scgi_temp_path %[2]s/s;
server { listen 127.0.0.1:%[1]s; root %[3]s; } }
`, port, tmp, filepath.Join(b.dir, "web"))
	path := filepath.Join(b.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o644)
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port), nil
}

func (b *bench) start() error {
	web, tmp := filepath.Join(b.dir, "web"), filepath.Join(b.dir, "tmp")
	if err := errors.Join(os.Chmod(b.dir, 0o755), os.Mkdir(web, 0o755), os.Mkdir(tmp, 0o755), os.Chown(tmp, nobody, nobody),
		os.WriteFile(filepath.Join(web, "file"), make([]byte, b.o.Size), 0o644)); err != nil {
		return err
	}
	var err error
	if b.wardPort, err = freePort(); err != nil {
		return err
	}
	if b.plainPort, err = freePort(); err != nil {
		return err
	}
	plain, err := b.config("plain.conf", b.plainPort, tmp)
	if err != nil {
		return err
	}
	b.plain = exec.Command(Program, "-c", plain, "-e", "stderr")
	// A session of its own, as daemons and domains have: the scheduler shares time out by sessions (sched(7), autogroup).
	b.plain.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM, Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if err := b.plain.Start(); err != nil {
		return err
	}
	if err := b.startDomain(web); err != nil {
		return err
	}
	return errors.Join(await(b.plainPort), await(b.wardPort))
}

func (b *bench) startDomain(web string) error {
	conf, err := b.config("ward.conf", b.wardPort, "/tmp")
	if err != nil {
		return err
	}
	allow := image.Verdict{Allow: true}
	img := &image.Image{Name: "bench", Policies: []image.Policy{{ID: "bench"}}, Domains: []image.Domain{{
		Name: "nginx", Program: Program, Host: true, Args: []string{"-c", conf, "-e", "stderr"}, Env: []string{"NGINX=3;"}, Start: allow, Ring: image.Ring{Level: 3, Name: "user"},
		Listen:  []image.Listen{{Name: "http", Address: "tcp:127.0.0.1:" + b.wardPort}},
		Connect: []string{"tcp:127.0.0.1:1"},
		Files:   []image.File{{Path: conf, Access: image.Read, Verdict: allow}, {Path: web, Access: image.Read, Verdict: allow}},
	}}}
	if err := img.Check(); err != nil {
		return err
	}
	channel, err := pair()
	if err != nil {
		return err
	}
	b.served = make(chan error, 1)
	go func() {
		b.served <- creator.Serve(channel[0], img, creator.Config{UIDBase: b.o.UID, Cgroup: fmt.Sprintf("ward-bench-nginx.%d", os.Getpid())})
	}()
	b.client = creator.NewClient(channel[1])
	control, err := pair()
	if err != nil {
		return err
	}
	defer control[0].Close()
	b.control = control[1]
	if b.output, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0); err != nil {
		return err
	}
	p, err := b.client.Start(context.Background(), abi.DomainID(0), control[0], b.output)
	if err != nil {
		return err
	}
	p.Pidfd.Close()
	if p.Ring != nil {
		p.Ring.Close()
	}
	return nil
}

func pair() (ends [2]*os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	for i, fd := range fds {
		ends[i] = os.NewFile(uintptr(fd), "channel")
	}
	return ends, err
}

// startWait bounds the wait for nginx to listen.
const startWait = 10 * time.Second

func await(port string) error {
	for end := time.Now().Add(startWait); ; {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(end) {
			return fmt.Errorf("nginx does not listen: %w", err)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// turn loads one of them, and returns its requests a second.
func (b *bench) turn(ctx context.Context, port string) (float64, error) {
	var count atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, b.o.Connections)
	ctx, cancel := context.WithTimeout(ctx, b.o.Turn)
	defer cancel()
	begin := time.Now()
	for range b.o.Connections {
		wg.Go(func() { errs <- request(ctx, port, &count) })
	}
	wg.Wait()
	took := time.Since(begin)
	close(errs)
	for err := range errs {
		if err != nil {
			return 0, err
		}
	}
	return float64(count.Load()) / took.Seconds(), nil
}

// request asks for the file on one connection until the turn is over.
func request(ctx context.Context, port string, count *atomic.Int64) error {
	c, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	defer c.Close()
	in := bufio.NewReaderSize(c, 64<<10)
	ask := []byte("GET /file HTTP/1.1\r\nHost: bench\r\n\r\n")
	for ctx.Err() == nil {
		if _, err := c.Write(ask); err != nil {
			return err
		}
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != http.StatusOK {
			return fmt.Errorf("answer %s: %w", r.Status, err)
		}
		count.Add(1)
	}
	return nil
}

func (b *bench) stop() error {
	var errs []error
	if b.plain != nil && b.plain.Process != nil {
		b.plain.Process.Signal(syscall.SIGTERM)
		if err := b.plain.Wait(); err != nil && !strings.Contains(err.Error(), "signal") {
			errs = append(errs, err)
		}
	}
	if b.client != nil {
		errs = append(errs, b.client.Stop(context.Background()), <-b.served)
	}
	for _, f := range []*os.File{b.control, b.output} {
		if f != nil {
			f.Close()
		}
	}
	return errors.Join(errs...)
}
