package redteam

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"ward/image"
)

var table = slices.Concat(terminals, programs, others, mounts, processes, objects, calls, sockets, exhaustion)

// Shapes of controls and layers that come again.
var (
	asRoot        = control{root: true}
	noSeccomp     = control{without: seccomp}
	noFiles       = control{without: seccomp | files}
	nothing       = control{without: all}
	freeRoot      = control{without: seccomp | landlock, nsroot: true}
	userRootLayer = layer{without: seccomp, nsroot: true}
)

var terminals = []attack{
	{name: "TIOCSTI", class: "CVE-2017-5226, CVE-2023-1523", tries: "types into the terminal that is its output", stops: "seccomp: list of ioctl commands",
		order: []string{"tty", "0x5412"}, terminal: true, control: noSeccomp},
	{name: "TIOCSTI, high bits", class: "CVE-2019-7303, CVE-2019-10063", tries: "the same with 1<<32 added to the command, which the kernel ignores and a 64-bit comparison does not", stops: "seccomp compares the 32 bits that the kernel looks at",
		order: []string{"tty", "0x100005412"}, terminal: true, control: noSeccomp},
	{name: "TIOCSTI, sign bits", class: "CVE-2019-10063", tries: "the same with all of the high bits", stops: "seccomp compares the 32 bits that the kernel looks at",
		order: []string{"tty", "-0xffffabee"}, terminal: true, control: noSeccomp},
	{name: "TIOCSCTTY", class: "terminals", tries: "makes the terminal its own", stops: "seccomp: list of ioctl commands", order: []string{"ttyowner"}, terminal: true, control: noSeccomp},
	{name: "TIOCLINUX", class: "CVE-2023-28339", tries: "pastes into a console", stops: "seccomp: list of ioctl commands", order: []string{"ttylinux"}, terminal: true, control: noSeccomp},
	{name: "TIOCSETD", class: "CVE-2017-2636, CVE-2020-14416", tries: "sets a line discipline, which may load a module", stops: "seccomp: list of ioctl commands", order: []string{"ttydiscipline"}, terminal: true, control: noSeccomp},
	{name: "TIOCSTI, shell in view", class: "CVE-2017-5226", tries: "the same with the host's programs in view", stops: "seccomp: list of ioctl commands",
		order: []string{"tty", "0x100005412"}, terminal: true, host: true, control: noSeccomp},
}

var programs = []attack{
	{name: "setuid program", class: "setuid", tries: "executes a setuid root program that it was granted", stops: "no_new_privs; nosuid mounts", order: []string{"gain", "{setuid}"}, host: true,
		layers: []layer{{without: seccomp}, {without: all &^ noNewPrivs}}, control: nothing},
	{name: "setgid program", class: "setuid", tries: "executes a setgid root program and has its group's files", stops: "no_new_privs; nosuid mounts", order: []string{"gaingroup", "{setgid}"}, host: true,
		layers: []layer{{without: seccomp}, {without: all &^ noNewPrivs}}, control: nothing},
	{name: "file capabilities", class: "setuid", tries: "executes a program with file capabilities", stops: "no_new_privs; nosuid mounts; empty bounding set", order: []string{"gain", "{capable}"}, host: true,
		layers: []layer{{without: seccomp}, {without: all &^ noNewPrivs}}, control: nothing},
	{name: "file capabilities, empty bounding set", class: "setuid", tries: "the same where new privileges are allowed", stops: "identity: empty bounding set (execve of a program whose capabilities cannot be had fails)", order: []string{"gain", "{capable}"}, host: true,
		layers: []layer{{without: all &^ identity}}, control: nothing},
	setID("chmod"), setID("fchmod"), setID("fchmodat2"), setID("open"), setID("openat2"), setID("mknod"),
	{name: "attributes of root's files", class: "setuid", tries: "sets an extended attribute, as file capabilities are, on a file that is mapped to root", stops: "seccomp: no setxattr", order: []string{"xattr", "{asroot}/file"}, control: noSeccomp},
	{name: "/proc/self/exe", class: "CVE-2019-5736 (runc)", tries: "overwrites its own program, which its user may write, through /proc/self/exe from another one", stops: "read-only mount; Landlock", order: []string{"selfexe"}, host: true, own: true,
		layers: []layer{{without: seccomp | landlock}}, control: noFiles},
	{name: "replace the program", class: "CVE-2019-5736 (runc)", tries: "puts another file in its program's place, in a directory that it may change", stops: "its program is a read-only mount of its own", order: []string{"replaceself"},
		domain: func(s *scene, d *image.Domain) {
			d.Program, d.Files = filepath.Join(s.word("rw"), "program"), s.files
		},
		layers: []layer{{without: seccomp | landlock}}, control: noFiles},
	{name: "memfd and fexecve", class: "fileless execution", tries: "executes a program from memory", stops: "seccomp: no memfd_create", order: []string{"execmemory"}, control: noSeccomp},
	{name: "memfd and fexecve, shell in view", class: "fileless execution", tries: "the same with the host's programs in view", stops: "seccomp: memfd_create only with MFD_NOEXEC_SEAL", order: []string{"execmemory"}, host: true, control: noSeccomp},
	{name: "execute what it wrote", class: "write and execute", tries: "writes a program to /tmp and executes it", stops: "noexec mount; Landlock", order: []string{"execwritten"},
		layers: []layer{{without: landlock}}, control: control{without: files}},
	{name: "execute by the loader", class: "write and execute", tries: "has the dynamic linker load a program from /tmp", stops: "noexec mount", order: []string{"loader"}, host: true,
		layers: []layer{{without: landlock}}, control: control{without: files}},
	{name: "LD_PRELOAD", class: "write and execute", tries: "has a program of the host load a library from /tmp", stops: "noexec mount", order: []string{"preload", "{library}"}, host: true,
		layers: []layer{{without: landlock}}, control: control{without: files}},
	{name: "rename to where it executes", class: "Landlock REFER", tries: "moves a program from a directory that it may write to one where it may execute", stops: "mounts of their own; Landlock: REFER with more rights", order: []string{"renameexec", "{rw}/program", "{rx}/moved"},
		layers: []layer{{without: landlock}}, control: control{without: files}},
	{name: "leaked environment", class: "CWE-526", tries: "looks for a variable of its creator's", stops: "the environment is what is listed", order: []string{"env", "PATH"},
		control: inherits("a plain child inherits it", nil, "env", "PATH")},
	{name: "LD_PRELOAD from outside", class: "CWE-426", tries: "a variable of the linker, set for the creator, reaches the domain", stops: "the environment is what is listed", order: []string{"env", "LD_PRELOAD"},
		control: inherits("a plain child inherits it", func(_ *scene, c *exec.Cmd) { c.Env = append(os.Environ(), "LD_PRELOAD=/none") }, "env", "LD_PRELOAD")},
	{name: "leaked descriptor", class: "CVE-2016-9962", tries: "uses a file that its creator left open", stops: "close_range before execve", order: []string{"fds"},
		domain:  func(s *scene, _ *image.Domain) { leak(s, s.word("secret"), syscall.O_RDONLY) },
		control: inherits("a plain child inherits it", func(s *scene, c *exec.Cmd) { c.ExtraFiles = append(c.ExtraFiles, openFile(s, s.word("secret"))) }, "fds")},
	{name: "leaked directory", class: "CVE-2024-21626 (runc)", tries: "reads a file of the host from a directory that its creator left open", stops: "close_range before execve; its root", order: []string{"dirfds", "{secret}"},
		domain:  func(s *scene, _ *image.Domain) { leak(s, "/", syscall.O_RDONLY|syscall.O_DIRECTORY) },
		control: inherits("a plain child inherits it", func(s *scene, c *exec.Cmd) { c.ExtraFiles = append(c.ExtraFiles, openFile(s, "/")) }, "dirfds", "{secret}")},
	{name: "working directory", class: "CVE-2024-21626 (runc)", tries: "reads from the directory in which it was started", stops: "chdir after chroot, from a mount namespace of its own", order: []string{"cwd", "redteam_test.go"},
		control: inherits("a plain child inherits it", func(s *scene, c *exec.Cmd) { c.Dir = filepath.Dir(s.file("redteam_test.go", 0o644)) }, "cwd", "redteam_test.go")},
	{name: "supplementary groups", class: "CVE-2022-29162, CWE-271", tries: "uses its creator's groups", stops: "setgroups to none", order: []string{"groups"},
		control: inherits("a plain child that keeps them", func(s *scene, c *exec.Cmd) { c.SysProcAttr.Credential.Groups = []uint32{0, 6} }, "groups")},
}

// setID makes a setuid program in a directory whose files are mapped to root.
func setID(way string) attack {
	return attack{name: "setuid file by " + way, class: "setuid", tries: "makes a setuid root program for others, in a directory where its files are root's",
		stops: "seccomp: no mode with setuid", order: []string{"setuidfile", "{asroot}", way},
		effect: func(s *scene) bool {
			for _, n := range []string{"setuid", "setuid2"} {
				if info, err := os.Stat(filepath.Join(s.words["asroot"], n)); err == nil && info.Mode()&os.ModeSetuid != 0 {
					return true
				}
			}
			return false
		}, control: noSeccomp}
}

// leak opens a file without close-on-exec for as long as the test runs, as a
// creator with that mistake would have it.
func leak(s *scene, name string, flags int) {
	fd, err := syscall.Open(name, flags, 0)
	s.must(err)
	s.t.Cleanup(func() { syscall.Close(fd) })
}

func openFile(s *scene, name string) *os.File {
	f, err := os.Open(name)
	s.must(err)
	s.t.Cleanup(func() { f.Close() })
	return f
}

var others = []attack{
	{name: "a file that was not granted", class: "files", tries: "reads a file of its user's by its path", stops: "root of its own; Landlock", order: []string{"read", "{secret}"},
		layers: []layer{{without: seccomp | landlock}}, control: noFiles},
	{name: "up and out", class: "files", tries: "the same by ../../…", stops: "the root is mounted over an empty one; Landlock", order: []string{"dotdot", "{secret}"}, layers: []layer{{without: seccomp | landlock}}, control: noFiles},
	{name: "through its own link", class: "symlinks", tries: "makes a symbolic link to the file in a directory that it may write, and reads that", stops: "root of its own; Landlock", order: []string{"symlink", "{rw}", "{secret}"},
		layers: []layer{{without: seccomp | landlock}}, control: noFiles},
	{name: "through /proc/self/root", class: "magic links", tries: "reads the file through /proc/self/root", stops: "root of its own; Landlock", order: []string{"read", "/proc/self/root/{secret}"}, host: true,
		layers: []layer{{without: seccomp | landlock}}, control: noFiles},
	{name: "through /proc/PID/root", class: "magic links", tries: "reads the file through the root of a process outside", stops: "PID namespace; Landlock", order: []string{"read", "/proc/{pid}/root/{secret}"}, host: true,
		layers: []layer{{without: seccomp | landlock}}, control: nothing},
	{name: "write what is read-only", class: "files", tries: "opens a file for writing that it may only read, and that its user may write", stops: "read-only mount; Landlock", order: []string{"openwrite", "{ro}/file"},
		layers: []layer{{without: landlock}}, control: noFiles},
	{name: "reopen for writing", class: "CVE-2019-5736", tries: "opens it by O_PATH, and that again by /proc/self/fd", stops: "read-only mount; Landlock", order: []string{"reopen", "{ro}/file"}, host: true,
		layers: []layer{{without: landlock}}, control: noFiles},
	{name: "truncate", class: "Landlock before ABI 3", tries: "empties a file that it may only read", stops: "read-only mount; Landlock", order: []string{"truncate", "{ro}/file"}, layers: []layer{{without: landlock}}, control: noFiles},
	{name: "truncate, shell in view", class: "truncation", tries: "the same with the host's programs in view", stops: "read-only mount; seccomp, or Landlock where it may write elsewhere", order: []string{"truncate", "{ro}/file"}, host: true,
		layers: []layer{{without: files}, {without: seccomp}}, control: noFiles},
	{name: "O_TRUNC for reading", class: "truncation", tries: "empties it by opening it for reading (O_RDONLY and O_TRUNC)", stops: "read-only mount; seccomp: O_TRUNC only for writing", order: []string{"opentruncate", "{ro}/file", "0"}, host: true,
		layers: []layer{{without: files}, {without: seccomp}}, control: noFiles},
	{name: "O_TRUNC for neither", class: "truncation", tries: "the same with the access mode that is for ioctl only", stops: "read-only mount; seccomp: O_TRUNC only for writing", order: []string{"opentruncate", "{ro}/file", "3"}, host: true,
		layers: []layer{{without: files}, {without: seccomp}}, control: noFiles},
	{name: "O_TRUNC for reading, a file of root's", class: "truncation", tries: "the same with a file that is not its user's, where nothing that it was granted is (the list of calls then leaves opens alone)", stops: "read-only mount; the file's permissions", order: []string{"opentruncate", "{theirs}/file", "0"}, host: true,
		layers: []layer{{without: seccomp | landlock}, {without: seccomp | files}}, control: asRoot},
	{name: "O_TRUNC for reading, a file that anybody may write", class: "truncation", tries: "the same with one that anybody may write, in a directory that not anybody may", stops: "read-only mount", order: []string{"opentruncate", "{theirs}/open", "0"}, host: true,
		layers: []layer{{without: seccomp | landlock}}, control: control{without: seccomp | files}},
	{name: "O_TRUNC for reading, by a descriptor from outside", class: "truncation", tries: "the same with one of its user's, in a directory of root's, of which somebody who connects to it gives it the host's own", stops: "seccomp: O_TRUNC only for writing where descriptors may come; else Landlock", order: []string{"gift", "{gift}", "0"}, host: true,
		domain: listening, outside: give, effect: func(s *scene) bool { return empty(s.words["theirs"] + "/gift") },
		layers: []layer{{without: files}, {without: seccomp, abi: 3}}, control: control{without: seccomp | landlock}},
	{name: "chmod", class: "files", tries: "changes the mode of a file that it may only read", stops: "read-only mount", order: []string{"chmod", "{ro}/file"}, layers: []layer{{without: landlock}}, control: noFiles},
	{name: "remove", class: "files", tries: "removes such a file", stops: "read-only mount; Landlock", order: []string{"unlink", "{ro}/file"}, layers: []layer{{without: landlock}}, control: noFiles},
	{name: "hard link", class: "CWE-62", tries: "links such a file to where it may write", stops: "mounts of their own; Landlock: REFER", order: []string{"link", "{ro}/file", "{rw}/linked"}, layers: []layer{{without: landlock}}, control: noFiles},
	{name: "move away", class: "Landlock REFER", tries: "moves such a file to where it may write", stops: "mounts of their own; Landlock: REFER", order: []string{"rename", "{ro}/file", "{rw}/moved"}, layers: []layer{{without: landlock}}, control: noFiles},
	{name: "RENAME_WHITEOUT", class: "devices", tries: "renames a file so that a device is left in its place", stops: "seccomp: flags of renameat2", order: []string{"whiteout", "{rw}/file"}, control: noSeccomp},
	{name: "inode flags", class: "ioctl", tries: "sets flags of its file (FS_IOC_SETFLAGS)", stops: "seccomp: list of ioctl commands", order: []string{"setflags", "{rw}/file"}, control: noSeccomp},
	{name: "device ioctl", class: "ioctl", tries: "a driver's own command, on a device that it has", stops: "seccomp: list of ioctl commands; Landlock: IOCTL_DEV", order: []string{"deviceioctl"},
		layers: []layer{{without: seccomp, abi: 5}, {without: landlock}}, control: control{without: seccomp | landlock}},
	{name: "extended attributes", class: "files", tries: "sets one on its own file", stops: "seccomp: no setxattr", order: []string{"xattr", "{rw}/file"}, control: control{without: seccomp, needs: noAttributes}},
	{name: "name_to_handle_at", class: "CVE-2015-3627 (shocker)", tries: "gets a handle of a file", stops: "seccomp", order: []string{"handle", "/tmp"}, control: noSeccomp},
	{name: "open_by_handle_at", class: "CVE-2015-3627 (shocker)", tries: "opens a file that was not granted by its handle, on the file system of one that was", stops: "seccomp; no CAP_DAC_READ_SEARCH", order: []string{"byhandle", "{ro}/file", "{handletype}", "{handle}"},
		layers: []layer{{without: seccomp | landlock}}, control: asRoot},
	{name: "open_by_handle_at, as root of a namespace", class: "CVE-2015-3627 (shocker)", tries: "the same with the capability in its user namespace", stops: "seccomp; the kernel: the file system is not its namespace's", order: []string{"byhandle", "{ro}/file", "{handletype}", "{handle}"}, host: true,
		layers: []layer{userRootLayer, {without: seccomp | landlock, nsroot: true}}, control: asRoot},
	{name: "fanotify", class: "watching", tries: "watches who opens a file", stops: "seccomp", order: []string{"fanotify", "{ro}/file"}, control: noSeccomp},
	{name: "inotify", class: "watching", tries: "watches who opens a file", stops: "seccomp", order: []string{"inotify", "{ro}/file"}, control: noSeccomp},
	{name: "inotify, shell in view", class: "watching", tries: "watches who executes the host's programs", stops: "seccomp", order: []string{"inotify", "/usr/bin"}, host: true, control: noSeccomp},
	{name: "dnotify", class: "watching", tries: "the same by F_NOTIFY", stops: "seccomp: list of fcntl commands", order: []string{"fcntl", "{ro}", "1026", "1"}, control: noSeccomp},
	{name: "leases", class: "locks", tries: "takes a lease on a file, which delays who opens it", stops: "seccomp: list of fcntl commands", order: []string{"fcntl", "{ro}/file", "1024", "0"}, control: noSeccomp},
	{name: "locks of a file that was not granted", class: "locks", tries: "locks a file of its user's, so that whoever locks it waits", stops: "root of its own; Landlock", order: []string{"lock", "{secret}"},
		layers: []layer{{without: seccomp | landlock}}, control: noFiles},
	{name: "write lock on what is read-only", class: "locks", tries: "takes a lock that keeps the readers of a file out, which it may only read (a lock of fcntl for writing)", stops: "read-only mount; Landlock", order: []string{"writelock", "{ro}/file"},
		layers: []layer{{without: landlock}}, control: noFiles},
	{name: "core_pattern", class: "CVE-2022-0492 and the like", tries: "opens /proc/sys/kernel/core_pattern for writing", stops: "/proc with processes only; user ID; Landlock", order: []string{"openwrite", "/proc/sys/kernel/core_pattern"}, host: true,
		layers: []layer{{without: seccomp | files}, userRootLayer, {without: seccomp | files, nsroot: true}}, control: asRoot},
	{name: "sysrq-trigger", class: "/proc writes", tries: "opens /proc/sysrq-trigger for writing", stops: "/proc with processes only; user ID; Landlock", order: []string{"openwrite", "/proc/sysrq-trigger"}, host: true,
		layers: []layer{{without: seccomp | files}, userRootLayer}, control: control{root: true, needs: missing("/proc/sysrq-trigger")}},
	{name: "/proc/sys/vm", class: "/proc writes", tries: "opens /proc/sys/vm/overcommit_memory for writing", stops: "/proc with processes only; user ID; Landlock", order: []string{"openwrite", "/proc/sys/vm/overcommit_memory"}, host: true,
		layers: []layer{{without: seccomp | files}, userRootLayer}, control: asRoot},
	{name: "/sys writes", class: "/sys writes", tries: "opens /sys/kernel/mm/transparent_hugepage/enabled for writing", stops: "no /sys; user ID", order: []string{"openwrite", "/sys/kernel/mm/transparent_hugepage/enabled"}, host: true,
		layers: []layer{{without: seccomp | files}, userRootLayer}, control: control{root: true, needs: missing("/sys/kernel/mm/transparent_hugepage/enabled")}},
	{name: "core file", class: "CWE-528", tries: "dies so that a core file, or the program of core_pattern, gets its memory", stops: "limits: RLIMIT_CORE of 1", order: []string{"core", "{rw}"}, killed: true,
		effect: func(s *scene) bool {
			found, _ := filepath.Glob(filepath.Join(s.words["rw"], "core*"))
			return len(found) > 0
		},
		control: control{without: seccomp | limits | files | identity, needs: coreFiles}},
	{name: "make a device", class: "devices", tries: "makes a node of the kernel's log and reads it", stops: "seccomp; no CAP_MKNOD; nodev mounts", order: []string{"mknod", "/tmp/hostile-node", "1", "11"},
		layers: []layer{{without: seccomp | landlock}, {without: seccomp | files}}, control: asRoot},
	{name: "make a device, as root of a namespace", class: "devices", tries: "the same as root of its user namespace", stops: "seccomp; Landlock; the kernel: no CAP_MKNOD outside", order: []string{"mknod", "/tmp/hostile-node2", "1", "11"}, host: true,
		layers: []layer{userRootLayer, {without: seccomp | landlock, nsroot: true}}, control: asRoot},
	{name: "/dev/kmsg", class: "devices", tries: "reads the kernel's log", stops: "a /dev of five devices", order: []string{"openread", "/dev/kmsg"}, layers: []layer{{without: seccomp | landlock}}, control: asRoot},
	{name: "/dev/mem", class: "devices", tries: "reads the machine's memory", stops: "a /dev of five devices", order: []string{"openread", "/dev/mem"}, layers: []layer{{without: seccomp | landlock}}, control: control{root: true, needs: missing("/dev/mem")}},
	{name: "/dev/tty", class: "devices", tries: "opens the creator's terminal", stops: "a /dev of five devices; a session of its own", order: []string{"openwrite", "/dev/tty"}, layers: []layer{{without: seccomp | landlock}, {without: all}},
		control: inherits("a child in the session of a terminal", func(s *scene, c *exec.Cmd) {
			master, slave := s.terminal()
			s.t.Cleanup(func() { master.Close(); slave.Close() })
			c.ExtraFiles = append(c.ExtraFiles, slave)
			c.SysProcAttr.Setctty, c.SysProcAttr.Ctty = true, 4
		}, "openwrite", "/dev/tty")},
	{name: "/dev/shm", class: "shared memory", tries: "leaves a file for another domain in /dev/shm", stops: "a /dev of five devices", order: []string{"leave", "/dev/shm"},
		layers: []layer{{without: seccomp | landlock}}, control: control{without: all, needs: missing("/dev/shm")}},
}

// empty reports whether a file has nothing in it.
func empty(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Size() == 0
}

// noAttributes says that the file system of the tests has no extended attributes.
func noAttributes() string {
	if err := unix.Setxattr(base, "user.redteam", []byte("x"), 0); err != nil {
		return "the file system of /var/tmp has no extended attributes"
	}
	return ""
}

// coreFiles says why no core file would come about here.
func coreFiles() string {
	b, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	if err != nil || len(b) > 0 && (b[0] == '|' || b[0] == '/') {
		return "core_pattern names a program or another directory"
	}
	return ""
}
