package redteam

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ward/image"
)

// A scene is what one attack is tried on: a user of its own, files, a victim.
// Words in braces in an attack's order stand for what is in it; what none
// names is not made.
type scene struct {
	t     *testing.T
	uid   uint32
	dir   string
	words map[string]string
	files []image.File // what the domain is granted
}

func newScene(t *testing.T) *scene {
	t.Helper()
	dir, err := os.MkdirTemp(base, "scene")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &scene{t: t, uid: userID(), dir: dir, words: map[string]string{}}
	s.words["uid"], s.words["mypid"] = strconv.Itoa(int(s.uid)), strconv.Itoa(os.Getpid())
	return s
}

var braces = regexp.MustCompile(`\{(\w+)\}`)

// order replaces the words in braces.
func (s *scene) order(args []string) []string {
	var out []string
	for _, a := range args {
		out = append(out, braces.ReplaceAllStringFunc(a, func(w string) string { return s.word(strings.Trim(w, "{}")) }))
	}
	return out
}

// made says how the words come about: several by one step.
var made map[string]func(*scene)

func init() {
	made = map[string]func(*scene){
		"secret": func(s *scene) { s.words["secret"] = s.file("secret", 0o600) },
		// Directories that the domain is granted: to read, to change, to change and execute.
		"ro": func(s *scene) { s.grant("ro", image.Read) },
		"rw": func(s *scene) { s.grant("rw", image.Read|image.Write) },
		"rx": func(s *scene) { s.grant("rx", image.Read|image.Write|image.Execute) },
		// One of root's to read, with a file of root's and one that anybody may write.
		"theirs": func(s *scene) {
			s.grant("theirs", image.Read)
			for name, mode := range map[string]os.FileMode{"": 0o755, "/file": 0o644, "/open": 0o666, "/program": 0o755} {
				name = s.words["theirs"] + name
				if strings.HasSuffix(name, "/open") {
					s.must(os.WriteFile(name, []byte("content\n"), mode))
				}
				s.must(os.Chown(name, 0, 0))
				s.must(os.Chmod(name, mode))
			}
		},
		// The name of one that is its user's there; somebody who cannot read it gives away the directory.
		"gift": func(s *scene) {
			name := s.word("theirs") + "/gift"
			s.must(os.WriteFile(name, []byte("content\n"), 0o600))
			s.must(os.Chown(name, int(s.uid), int(s.uid)))
			s.words["gift"] = "gift"
		},
		// One of root's, with root's files as the domain's own.
		"asroot": func(s *scene) {
			if !idmapped() {
				s.t.Skip("needs ID-mapped mounts of the file system of " + base + " (tmpfs: Linux 6.3)")
			}
			s.grant("asroot", image.Read|image.Write)
			s.files[len(s.files)-1].AsRoot = true
			s.must(os.Chown(s.words["asroot"], 0, 0))
			s.must(os.Chown(s.words["asroot"]+"/file", 0, 0))
		},
		"victim": func(s *scene) { s.victim() },
		"tcp":    func(s *scene) { s.listen("tcp", "127.0.0.1:0") },
		"abstract": func(s *scene) {
			s.listen("abstract", fmt.Sprintf("@ward-redteam-%d", s.uid))
		},
		"unix": func(s *scene) {
			s.listen("unix", filepath.Join(s.dir, "socket"))
			s.must(os.Chmod(s.words["unix"], 0o777))
		},
		"handle": func(s *scene) {
			h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, s.word("secret"), 0)
			s.must(err)
			s.words["handle"], s.words["handletype"] = hex.EncodeToString(h.Bytes()), strconv.Itoa(int(h.Type()))
		},
		"cgroup":  func(s *scene) { s.cgroup() },
		"setuid":  func(s *scene) { s.program("setuid", 0, 0o755|os.ModeSetuid) },
		"setgid":  func(s *scene) { s.program("setgid", 0, 0o755|os.ModeSetgid) },
		"capable": func(s *scene) { s.capable() },
		"library": func(s *scene) {
			found, _ := filepath.Glob("/lib/*/libutil.so.1")
			if len(found) == 0 {
				s.t.Skip("needs a shared library to load")
			}
			s.words["library"] = found[0]
		},
	}
}

// with says which words another one brings along.
var with = map[string]string{"pid": "victim", "address": "victim", "shm": "victim", "msg": "victim", "sem": "victim", "mq": "victim", "handletype": "handle"}

// idmapped says whether the file system of base can be mounted so: only tmpfs
// in all its forms cannot before Linux 6.3.
func idmapped() bool {
	var fs unix.Statfs_t
	var u unix.Utsname
	var major, minor int
	if unix.Statfs(base, &fs) != nil || unix.Uname(&u) != nil {
		return false
	}
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); err != nil {
		return false
	}
	return fs.Type != unix.TMPFS_MAGIC && fs.Type != unix.RAMFS_MAGIC || major > 6 || major == 6 && minor >= 3
}

func (s *scene) word(name string) string {
	s.t.Helper()
	if v, ok := s.words[name]; ok {
		return v
	}
	from := name
	if f, ok := with[name]; ok {
		from = f
	}
	if made[from] == nil {
		s.t.Fatalf("nothing is called {%s}", name)
	}
	made[from](s)
	return s.words[name]
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// file makes a file of the attacker's user.
func (s *scene) file(name string, mode os.FileMode) string {
	s.t.Helper()
	name = filepath.Join(s.dir, name)
	s.must(os.WriteFile(name, []byte("content\n"), mode))
	s.must(os.Chmod(name, mode))
	s.must(os.Chown(name, int(s.uid), int(s.uid)))
	return name
}

// grant makes a directory of the attacker's user, with a file and a program in it.
func (s *scene) grant(name string, access image.Access) {
	s.t.Helper()
	dir := filepath.Join(s.dir, name)
	s.must(os.Mkdir(dir, 0o777))
	s.must(os.Chmod(dir, 0o777))
	s.must(os.Chown(dir, int(s.uid), int(s.uid)))
	s.file(name+"/file", 0o666)
	s.copyHostile(name+"/program", int(s.uid), 0o755)
	s.files = append(s.files, image.File{Path: dir, Access: access})
	s.words[name] = dir
}

func (s *scene) copyHostile(name string, uid int, mode os.FileMode) string {
	s.t.Helper()
	name = filepath.Join(s.dir, name)
	// By another process: a child that is being made beside this would have it
	// open for writing, and it could not be executed.
	if out, err := exec.Command(hostile, "copy", hostile, name).CombinedOutput(); err != nil {
		s.t.Fatalf("copy: %v: %s", err, out)
	}
	s.must(os.Chown(name, uid, uid))
	s.must(os.Chmod(name, mode))
	return name
}

// program makes a program of root's that the domain may execute.
func (s *scene) program(name string, uid int, mode os.FileMode) {
	s.t.Helper()
	s.words[name] = s.copyHostile(name, uid, mode)
	s.files = append(s.files, image.File{Path: s.words[name], Access: image.Read | image.Execute})
}

func (s *scene) capable() {
	s.program("capable", 0, 0o755)
	// struct vfs_cap_data, revision 2, effective: CAP_CHOWN.
	s.must(unix.Setxattr(s.words["capable"], "security.capability", []byte{1, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0))
}

// victim starts a process of the attacker's user, outside.
func (s *scene) victim() {
	s.t.Helper()
	cmd := exec.Command(hostile, "victim")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: s.uid, Gid: s.uid}}
	in, err := cmd.StdinPipe()
	s.must(err)
	out, err := cmd.StdoutPipe()
	s.must(err)
	cmd.Stderr = os.Stderr
	s.must(cmd.Start())
	s.t.Cleanup(func() {
		in.Close() // it removes what it made, and ends
		io.Copy(io.Discard, out)
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "ready") {
		s.t.Fatalf("the victim said %q, %v", line, err)
	}
	for _, f := range strings.Fields(line)[1:] {
		name, value, _ := strings.Cut(f, "=")
		s.words[name] = value
	}
	s.words["victim"] = s.words["pid"]
}

func (s *scene) listen(name, address string) {
	s.t.Helper()
	network := "unix"
	if name == "tcp" {
		network = "tcp"
	}
	l, err := net.Listen(network, address)
	s.must(err)
	s.t.Cleanup(func() { l.Close() })
	s.words[name] = l.Addr().String()
}

// listening has the domain listen at a socket in the scene's directory.
func listening(s *scene, d *image.Domain) {
	d.Listen = []image.Listen{{Name: "gift", Address: image.UnixAddress + filepath.Join(s.dir, "listening")}}
}

// give connects to it and gives it a directory of the host's, which anybody may open.
func give(s *scene) {
	s.t.Helper()
	dir, err := unix.Open(s.word("theirs"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	s.must(err)
	defer unix.Close(dir)
	c, err := net.Dial("unix", filepath.Join(s.dir, "listening"))
	s.must(err)
	defer c.Close()
	_, _, err = c.(*net.UnixConn).WriteMsgUnix([]byte("x"), unix.UnixRights(dir), nil)
	s.must(err)
}

// cgroup makes a cgroup beside the domain's.
func (s *scene) cgroup() {
	s.t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	s.must(err)
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, " - cgroup2 ") {
			dir := filepath.Join(strings.Fields(line)[4], fmt.Sprintf("ward-redteam-other-%d", s.uid))
			s.must(os.Mkdir(dir, 0o755))
			s.t.Cleanup(func() {
				if err := os.Remove(dir); err != nil {
					s.t.Error(err)
				}
			})
			s.words["cgroup"] = dir
			return
		}
	}
	s.t.Skip("needs cgroup v2")
}

// terminal makes one; the domain's output is its end.
func (s *scene) terminal() (master, slave *os.File) {
	s.t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	s.must(err)
	s.must(unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	s.must(err)
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	s.must(err)
	return master, slave
}
