package nginxbench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ward/creator"
)

// What is asked for, and how nginx treats it.
const (
	opened = "opened" // one file, opened for each request
	kept   = "kept"   // one file that it keeps open
	mix    = "mix"    // files of many sizes, opened for each request
)

const nobody = 65534

// bench is what one comparison starts; the first server is the plain one.
type bench struct {
	o       Options
	files   string // opened, kept or mix
	site    *site
	dir     string
	servers []*server
}

// A server is one nginx, and what its turns have brought.
type server struct {
	name, port      string
	pid             int                         // of its master
	site            *site                       // what it serves
	answers         []int                       // bytes of the answer for each page; nil: not known yet
	last            struct{ rate, cpu float64 } // of the last turn
	rates, cpu      []float64                   // requests a second, ns a request
	plain           *exec.Cmd
	creator         *exec.Cmd       // the domain's own
	client          *creator.Client // …
	control, output *os.File
}

// config writes the configuration of s, with temporary files in tmp.
func (b *bench) config(s *server, tmp string) (string, error) {
	cache := ""
	if b.files == kept {
		cache = "open_file_cache max=100; "
	}
	text := fmt.Sprintf(`daemon off; worker_processes 1; pid %[2]s/pid; error_log stderr;
events { worker_connections 512; }
http { access_log off; sendfile on; keepalive_requests 1000000000; %[4]s
client_body_temp_path %[2]s/b; proxy_temp_path %[2]s/p; fastcgi_temp_path %[2]s/f; uwsgi_temp_path %[2]s/u; scgi_temp_path %[2]s/s;
server { listen 127.0.0.1:%[1]s; root %[3]s; } }
`, s.port, tmp, filepath.Join(b.dir, "web"), cache)
	path := filepath.Join(b.dir, s.port+".conf")
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

// sites is a directory where sites are, and not /tmp, which is a domain's own.
func sites() string {
	for _, dir := range []string{"/srv", "/var/www"} {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir
		}
	}
	return ""
}

// start starts the plain nginx and the domains.
func (b *bench) start() (err error) {
	if b.dir, err = os.MkdirTemp(sites(), "ward-nginx"); err != nil {
		return err
	}
	web, tmp := filepath.Join(b.dir, "web"), filepath.Join(b.dir, "tmp")
	if err := errors.Join(os.Chmod(b.dir, 0o755), os.Mkdir(web, 0o755), os.Mkdir(tmp, 0o755), os.Chown(tmp, nobody, nobody),
		b.site.write(web)); err != nil {
		return err
	}
	for i := range len(layers) + 1 {
		if i > 1 && !b.o.Layers {
			break
		}
		s := &server{name: "without Ward", site: b.site}
		b.servers = append(b.servers, s)
		if s.port, err = freePort(); err != nil {
			return err
		}
		if i == 0 {
			err = b.startPlain(s, tmp)
		} else {
			s.name = "as a domain"
			err = b.startDomain(s, uint32(i-1), layers[i-1].without)
		}
		if err == nil {
			err = await(s.port)
		}
		if err != nil {
			return fmt.Errorf("nginx %s: %w", s.name, err)
		}
	}
	return nil
}

func (b *bench) startPlain(s *server, tmp string) error {
	conf, err := b.config(s, tmp)
	if err != nil {
		return err
	}
	c := exec.Command(Program, "-c", conf, "-e", "stderr")
	// A session of its own, as daemons and domains have: the scheduler shares time out by sessions (sched(7), autogroup).
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM, Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if err := c.Start(); err != nil {
		return err
	}
	s.plain, s.pid = c, c.Process.Pid
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
			return fmt.Errorf("it does not listen: %w", err)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// awaitWorker waits until the master has made a worker.
func (s *server) awaitWorker() error {
	for end := time.Now().Add(startWait); ; {
		pids, err := s.processes()
		if err != nil {
			return err
		}
		if len(pids) > 1 {
			return nil
		}
		if time.Now().After(end) {
			return errors.New("it makes no worker")
		}
		<-time.After(10 * time.Millisecond)
	}
}

// stop ends what was started.
func (b *bench) stop() error {
	var errs []error
	for _, s := range b.servers {
		errs = append(errs, s.stop())
	}
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}

func (s *server) stop() error {
	var errs []error
	if s.plain != nil {
		s.plain.Process.Signal(syscall.SIGTERM)
		if err := s.plain.Wait(); err != nil && !strings.Contains(err.Error(), "signal") {
			errs = append(errs, err)
		}
	}
	if s.client != nil {
		errs = append(errs, s.client.Stop(context.Background()), s.creator.Wait())
	}
	for _, f := range []*os.File{s.control, s.output} {
		if f != nil {
			f.Close()
		}
	}
	return errors.Join(errs...)
}
