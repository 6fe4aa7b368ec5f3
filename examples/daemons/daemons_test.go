// Package daemons tests the examples: daemons as Debian ships them, as
// domains, under load, and against attacks from inside.
package daemons

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ward/audit"
)

var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "ward-daemons")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		bin = dir
		if os.Geteuid() != 0 {
			return m.Run()
		}
		cmd := exec.Command("go", "build", "-o", bin, "ward/cmd/ward", "ward/cmd/wardd", "ward/cmd/ward-names")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			panic(string(out))
		}
		return m.Run()
	}())
}

const patience = 30 * time.Second

// A system is a running example.
type system struct {
	t    *testing.T
	name string
	dir  string
	cmd  *exec.Cmd
	out  bytes.Buffer
}

var ups atomic.Int32

// up starts an example, with some of its texts replaced: those of the tests
// run beside each other, and beside the examples.
func up(t *testing.T, example, program string, replace ...string) *system {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes domains")
	}
	if _, err := os.Stat(program); err != nil {
		t.Skipf("needs %s: %v", program, err)
	}
	text, err := os.ReadFile(filepath.Join(example, "system.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if lines := bytes.Count(text, []byte("\n")); lines >= 30 {
		t.Errorf("%s has %d lines", example, lines)
	}
	s := &system{t: t, name: fmt.Sprintf("daemon-%s-%d-%d", example, os.Getpid(), ups.Add(1)), dir: t.TempDir()}
	changed := strings.NewReplacer(append(replace, "name: daemon-"+example, "name: "+s.name)...).Replace(string(text))
	if err := os.WriteFile(filepath.Join(s.dir, "system.yaml"), []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	s.cmd = exec.Command(filepath.Join(bin, "ward"), "up", s.dir)
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.down)
	return s
}

func (s *system) down() {
	if s.cmd == nil {
		return
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	s.cmd.Wait()
	s.cmd = nil
	log, _ := os.ReadFile(filepath.Join(s.run(), audit.LogDir, strings.Split(s.name, "-")[1]))
	if s.t.Failed() {
		s.t.Logf("%s\n%s", &s.out, log)
	}
	os.RemoveAll(s.run())
}

func (s *system) run() string { return filepath.Join("/run/ward", s.name) }

// refused waits for the audit record of an address that the daemon was refused.
func (s *system) refused(address string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for r, err := range audit.Follow(ctx, filepath.Join(s.run(), audit.File), audit.Filter{}) {
		if err != nil {
			break
		}
		if r.Event == audit.EventSocket && r.Address == address && r.Verdict == audit.Deny {
			return
		}
	}
	s.t.Errorf("no record of the refusal of %s", address)
}

// dial connects as soon as somebody listens.
func dial(t *testing.T, network, addr string) net.Conn {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		c, err := net.Dial(network, addr)
		if err == nil {
			c.SetDeadline(time.Now().Add(patience))
			t.Cleanup(func() { c.Close() })
			return c
		}
		if time.Now().After(end) {
			t.Fatalf("nobody listens on %s: %v", addr, err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// free returns a port of the loopback address that is free for TCP and UDP.
func free(t *testing.T) string {
	t.Helper()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		u, err := net.ListenPacket("udp", l.Addr().String())
		l.Close()
		if err == nil {
			u.Close()
			_, port, _ := net.SplitHostPort(l.Addr().String())
			return port
		}
	}
}

// plain runs a program outside Ward, as a control, until the test ends.
func plain(t *testing.T, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Signal(syscall.SIGTERM); cmd.Wait() })
}

// load does n things, some at a time.
func load(t *testing.T, n int, do func() error) {
	t.Helper()
	const workers = 8
	var wg sync.WaitGroup
	errs := make(chan error, workers)
	for range workers {
		wg.Go(func() {
			for range n / workers {
				if err := do(); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
}

func get(url string) (int, string, error) {
	client := http.Client{Timeout: patience}
	r, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return r.StatusCode, string(b), err
}

// TestNginx: files of one directory and one upstream, and nothing else.
func TestNginx(t *testing.T) {
	const program = "/usr/sbin/nginx"
	web, conf := t.TempDir(), filepath.Join(t.TempDir(), "nginx.conf")
	for _, d := range []string{web, filepath.Dir(conf), filepath.Dir(web), filepath.Dir(filepath.Dir(conf))} {
		os.Chmod(d, 0o755)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	for name, text := range map[string]string{filepath.Join(web, "index.html"): "hello", secret: "secret"} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	os.Chmod(filepath.Dir(secret), 0o755)
	if err := os.Symlink(secret, filepath.Join(web, "link")); err != nil {
		t.Fatal(err)
	}
	upstream, other := answering(t, "from upstream"), answering(t, "from elsewhere")
	port, plainPort := free(t), free(t)
	text, err := os.ReadFile("nginx/nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	config := func(port string) string {
		s := strings.NewReplacer("18080", port, "127.0.0.1:18081", upstream, "/var/www/html", web).Replace(string(text))
		return strings.Replace(s, "location /api/", "location /else/ { proxy_pass http://"+other+"/; }\n\t\tlocation /api/", 1)
	}
	if err := os.WriteFile(conf, []byte(config(port)), 0o644); err != nil {
		t.Fatal(err)
	}
	s := up(t, "nginx", program, "18080", port, "127.0.0.1:18081", upstream, "/var/www/html", web, "/etc/ward/nginx.conf", conf)
	dial(t, "tcp", "127.0.0.1:"+port).Close()
	url := "http://127.0.0.1:" + port
	expect := func(url string, status int, body string) {
		t.Helper()
		got, b, err := get(url)
		if err != nil || got != status || body != "" && b != body {
			t.Errorf("%s: %d %q, %v; want %d", url, got, b, err, status)
		}
	}
	expect(url+"/", 200, "hello")
	expect(url+"/api/", 200, "from upstream")
	expect(url+"/link", 404, "")
	expect(url+"/else/", 502, "")
	s.refused("tcp:" + other)
	// Under load, what is listed is served, and what is not is not.
	var turn atomic.Int32
	load(t, 4000, func() error {
		c := []struct {
			path   string
			status int
			body   string
		}{{"/", 200, "hello"}, {"/api/", 200, "from upstream"}, {"/link", 404, ""}, {"/else/", 502, ""}}[turn.Add(1)%4]
		status, body, err := get(url + c.path)
		if err == nil && (status != c.status || c.body != "" && body != c.body) {
			err = fmt.Errorf("under load, %s: %d %q", c.path, status, body)
		}
		return err
	})
	// The control: the same program with the same configuration, outside Ward.
	own := filepath.Join(t.TempDir(), "plain.conf")
	dir := t.TempDir()
	if err := os.WriteFile(own, []byte("user root;\n"+strings.NewReplacer("_path /tmp/", "_path "+dir+"/", "pid /tmp/", "pid "+dir+"/").Replace(config(plainPort))), 0o644); err != nil {
		t.Fatal(err)
	}
	plain(t, program, "-c", own, "-e", "stderr")
	dial(t, "tcp", "127.0.0.1:"+plainPort).Close()
	expect("http://127.0.0.1:"+plainPort+"/link", 200, "secret")
	expect("http://127.0.0.1:"+plainPort+"/else/", 200, "from elsewhere")
}

// answering is a web server that says one thing.
func answering(t *testing.T, what string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, what) })}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return l.Addr().String()
}

// A talk is a connection to redis or memcached: a line is sent, and one comes back.
type talk struct {
	net.Conn
	in *bufio.Reader
}

func talkTo(t *testing.T, port string) *talk {
	t.Helper()
	c := dial(t, "tcp", "127.0.0.1:"+port)
	return &talk{c, bufio.NewReader(c)}
}

func (c *talk) say(line string) (string, error) {
	if _, err := io.WriteString(c, line+"\r\n"); err != nil {
		return "", err
	}
	s, err := c.in.ReadString('\n')
	return strings.TrimSpace(s), err
}

// TestRedis: one address and one directory, and nothing else.
func TestRedis(t *testing.T) {
	const program = "/usr/bin/redis-server"
	data, plainData, elsewhere := t.TempDir(), t.TempDir(), t.TempDir()
	os.Chmod(filepath.Dir(data), 0o755)
	port, plainPort := free(t), free(t)
	elsewhereOn, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhereOn.Close()
	_, master, _ := net.SplitHostPort(elsewhereOn.Addr().String())
	s := up(t, "redis", program, "16379", port, "/var/lib/ward-redis", data, "--save", "--enable-protected-configs, \"yes\", --save")
	s.ready("redis")
	c := talkTo(t, port)
	expect := func(c *talk, line, want string) {
		t.Helper()
		if got, err := c.say(line); err != nil || !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, %v; want %s", line, got, err, want)
		}
	}
	expect(c, "SET a 1", "+OK")
	// It replaces root's file in its directory, with another one.
	expect(c, "SAVE", "+OK")
	dump := filepath.Join(data, "dump.rdb")
	if err := os.WriteFile(dump, []byte("root's"), 0o600); err != nil {
		t.Fatal(err)
	}
	was, err := os.Stat(dump)
	if err != nil {
		t.Fatal(err)
	}
	expect(c, "SAVE", "+OK")
	if now, err := os.Stat(dump); err != nil || os.SameFile(was, now) || now.Size() == was.Size() {
		t.Errorf("root's file is not replaced: %v", err)
	}
	st, err := os.Stat(dump)
	if err != nil || st.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("the file is not there, or not root's: %v", err)
	}
	expect(c, "CONFIG SET dir "+elsewhere, "-ERR")
	expect(c, "CONFIG SET dir "+filepath.Dir(data), "+OK") // on the way to its directory; nothing can be written there
	expect(c, "SAVE", "-ERR")
	expect(c, "CONFIG SET dir "+data, "+OK")
	expect(c, "REPLICAOF 127.0.0.1 "+master, "+OK")
	s.refused("tcp:127.0.0.1:" + master)
	expect(c, "REPLICAOF NO ONE", "+OK")
	conns := make(chan *talk, 8)
	for range cap(conns) {
		conns <- talkTo(t, port)
	}
	load(t, 8000, func() error {
		c := <-conns
		defer func() { conns <- c }()
		got, err := c.say("INCR n")
		if err == nil && !strings.HasPrefix(got, ":") {
			err = fmt.Errorf("under load: %q", got)
		}
		return err
	})
	// The control: outside Ward.
	plain(t, program, "--port", plainPort, "--bind", "127.0.0.1", "--dir", plainData, "--enable-protected-configs", "yes", "--save", "")
	p := talkTo(t, plainPort)
	expect(p, "CONFIG SET dir "+elsewhere, "+OK")
	expect(p, "CONFIG SET dir "+plainData, "+OK")
	if n := waiting(t, elsewhereOn); n != 0 {
		t.Error("the domain has come to where it may not")
	}
	expect(p, "REPLICAOF 127.0.0.1 "+master, "+OK")
	conn, err := elsewhereOn.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	expect(p, "REPLICAOF NO ONE", "+OK")
}

// waiting is how many listeners of one have a connection to accept.
func waiting(t *testing.T, l net.Listener) (n int) {
	t.Helper()
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			n, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// says waits until a domain has written something.
func (s *system) says(domain, text string) {
	s.t.Helper()
	path := filepath.Join(s.run(), audit.LogDir, domain)
	for end := time.Now().Add(patience); ; {
		log, err := os.ReadFile(path)
		if bytes.Contains(log, []byte(text)) {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("%s does not say %q, but %q, %v", domain, text, log, err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// ready waits until a domain says that it is.
func (s *system) ready(domain string) {
	s.t.Helper()
	for end := time.Now().Add(patience); ; {
		out, _ := exec.Command(filepath.Join(bin, "ward"), "ps", "-s", s.name, "--json").Output()
		for line := range strings.Lines(string(out)) {
			var d struct {
				Domain string
				Ready  bool
			}
			if json.Unmarshal([]byte(line), &d) == nil && d.Domain == domain && d.Ready {
				return
			}
		}
		if time.Now().After(end) {
			s.t.Fatalf("%s does not become ready: %s", domain, out)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// TestMemcached: TCP and UDP on one port. (To whom it may send: TestAttackAnswer.)
func TestMemcached(t *testing.T) {
	port := free(t)
	up(t, "memcached", "/usr/bin/memcached", "21211", port)
	c := talkTo(t, port)
	if got, err := c.say("set a 0 0 1\r\nx"); err != nil || got != "STORED" {
		t.Errorf("%q, %v", got, err)
	}
	u := dial(t, "udp", "127.0.0.1:"+port)
	if _, err := u.Write([]byte("\x00\x01\x00\x00\x00\x01\x00\x00get a\r\n")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1500)
	if n, err := u.Read(b); err != nil || !strings.Contains(string(b[:n]), "VALUE a 0 1") {
		t.Errorf("by UDP: %q, %v", b[:max(n, 0)], err)
	}
	conns := make(chan *talk, 8)
	for range cap(conns) {
		conns <- talkTo(t, port)
	}
	load(t, 8000, func() error {
		c := <-conns
		defer func() { conns <- c }()
		got, err := c.say("incr none 1")
		if err == nil && got != "NOT_FOUND" {
			err = fmt.Errorf("under load: %q", got)
		}
		return err
	})
}

// TestMemcachedRefused: told to listen elsewhere, or to write a file, it cannot. The
// control: outside Ward it does both.
func TestMemcachedRefused(t *testing.T) {
	const program = "/usr/bin/memcached"
	port, other := free(t), free(t)
	s := up(t, "memcached", program, "--port=21211", "--port="+other, "21211", port)
	s.says("memcached", "bind(): ")
	s.refused("tcp:127.0.0.1:" + other)
	if c, err := net.Dial("tcp", "127.0.0.1:"+other); err == nil {
		c.Close()
		t.Error("it listens on a port that is not listed")
	}
	dir := t.TempDir()
	os.Chmod(dir, 0o777)
	file := filepath.Join(dir, "pid")
	again := free(t)
	up(t, "memcached", program, "21211", again, "--threads=2", "--threads=2, --pidfile="+file)
	talkTo(t, again) // it writes the file before it serves
	if _, err := os.Lstat(file); err == nil {
		t.Error("it writes a file that is not listed")
	}
	plain(t, program, "-u", "root", "--listen=127.0.0.1", "--port="+other, "--pidfile="+file)
	talkTo(t, other)
	if _, err := os.Lstat(file); err != nil {
		t.Errorf("control: %v", err)
	}
}

// TestBeside: several systems run beside each other, with user IDs of their
// own, and the end of one is not the other's.
func TestBeside(t *testing.T) {
	const program = "/usr/bin/memcached"
	ports := [2]string{free(t), free(t)}
	var systems [2]*system
	for i := range systems {
		systems[i] = up(t, "memcached", program, "21211", ports[i])
	}
	var talks [2]*talk
	for i, port := range ports {
		talks[i] = talkTo(t, port)
		systems[i].ready("memcached")
		if got, err := talks[i].say(fmt.Sprintf("set a 0 0 1\r\n%d", i)); err != nil || got != "STORED" {
			t.Errorf("%q, %v", got, err)
		}
	}
	if a, b := systems[0].uid("memcached"), systems[1].uid("memcached"); a == 0 || a == b {
		t.Errorf("user IDs %d and %d", a, b)
	}
	systems[0].down()
	if got, err := talks[1].say("incr a 1"); err != nil || got != "2" {
		t.Errorf("after the other's end: %q, %v", got, err)
	}
}

// uid is the user ID of a domain.
func (s *system) uid(domain string) uint32 {
	out, err := exec.Command(filepath.Join(bin, "ward"), "ps", "-s", s.name, "--json").Output()
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		var d struct {
			Domain string
			UID    uint32
		}
		if json.Unmarshal([]byte(line), &d) == nil && d.Domain == domain {
			return d.UID
		}
	}
	return 0
}
