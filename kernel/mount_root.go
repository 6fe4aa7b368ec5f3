package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ward/image"
)

// A Bind is something of the host that a sandboxed process sees at the same
// path, with everything mounted below it.
type Bind struct {
	Path   string // absolute and clean
	Access image.Access
	AsRoot bool // files of root's appear as the process's own, and the other way round (an ID-mapped mount; Linux 5.12, on tmpfs 6.3)
}

// The root of a sandboxed process is one tmpfs. Its top is mounted read-only;
// tmp, private and bounded, and dev, with a few device nodes, are mounted once
// more from the same tmpfs with flags of their own: three mounts, one
// superblock. Nothing of it is visible to anybody else.
const (
	rootSlack  = 256 << 10 // bytes beside /tmp
	rootInodes = 512       // beside those of /tmp
	tmpInode   = 4 << 10   // bytes of /tmp for which it may have one inode
)

// devices of /dev; all harmless without privileges.
var devices = []struct {
	name         string
	major, minor uint32
}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}}

// hostTrees are what `root: host` shows of the host, read-only, where the
// host has it: what dynamically linked programs need to start.
var hostTrees = []string{
	"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
	"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/localtime", "/etc/nsswitch.conf",
}

// devLinks are made in /dev where there is a /proc.
var devLinks = map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}

// A mountPoint is a detached mount and the place for it.
type mountPoint struct {
	fd     int    // from open_tree
	path   string // absolute
	nested bool   // inside another one: its path is not ours alone
	access image.Access
	dir    bool
}

// A rootTree is a root in the making: descriptors of detached mounts, which
// vanish when they are closed.
type rootTree struct {
	top    int
	proc   bool
	mounts []mountPoint
	opened []int
	disk   diskBinder
}

func (r *rootTree) close() {
	for _, fd := range r.opened {
		unix.Close(fd)
	}
}

func (r *rootTree) own(fd int) int { r.opened = append(r.opened, fd); return fd }

// newRootTree builds a root with what s lists.
func newRootTree(s *Sandbox) (_ *rootTree, err error) {
	r := &rootTree{top: -1, proc: s.Host, disk: diskBinder{DiskQuota: s.Disk}}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	size := max(s.Tmp, minTmp)
	if r.top, err = newTmpfs(size+rootSlack, size/tmpInode+rootInodes); err != nil {
		return nil, fmt.Errorf("root of %s: %w", s.Name, err)
	}
	r.own(r.top)
	if err := r.standard(s); err != nil {
		return nil, fmt.Errorf("root of %s: %w", s.Name, err)
	}
	if s.tmp, err = openTmp(r.top); err != nil {
		return nil, fmt.Errorf("root of %s: %w", s.Name, err)
	}
	if s.Network.Notify {
		if s.notify, err = notifySocket(r.top); err != nil {
			return nil, fmt.Errorf("root of %s: %w", s.Name, err)
		}
	}
	binds, err := r.binds(s)
	if err != nil {
		return nil, err
	}
	for _, b := range binds {
		if err := r.add(s, b); err != nil {
			return nil, fmt.Errorf("root of %s: %w", s.Name, err)
		}
	}
	return r, nil
}

func newTmpfs(size, inodes uint64) (int, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsopen tmpfs: %w", err)
	}
	defer unix.Close(fs)
	for _, o := range [][2]string{{"mode", "0755"}, {"size", strconv.FormatUint(size, 10)}, {"nr_inodes", strconv.FormatUint(inodes, 10)}} {
		if err := unix.FsconfigSetString(fs, o[0], o[1]); err != nil {
			return -1, fmt.Errorf("tmpfs option %s=%s: %w", o[0], o[1], err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("create tmpfs: %w", err)
	}
	mnt, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsmount tmpfs: %w", err)
	}
	return mnt, nil
}

// standard makes /tmp, /dev and, for a host root, /proc.
func (r *rootTree) standard(s *Sandbox) error {
	if err := unix.Mkdirat(r.top, "tmp", 0o700); err != nil {
		return fmt.Errorf("mkdir /tmp: %w", err)
	}
	if !singleUser() { // there it is the domain's already
		if err := unix.Fchownat(r.top, "tmp", int(s.UID), int(s.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("chown /tmp: %w", err)
		}
	}
	if err := unix.Mkdirat(r.top, "dev", 0o755); err != nil {
		return fmt.Errorf("mkdir /dev: %w", err)
	}
	for _, d := range devices {
		if singleUser() {
			if err := r.borrowDevice("/dev/" + d.name); err != nil {
				return err
			}
			continue
		}
		name := "dev/" + d.name
		if err := unix.Mknodat(r.top, name, unix.S_IFCHR|0o666, int(unix.Mkdev(d.major, d.minor))); err != nil {
			return fmt.Errorf("mknod /%s: %w", name, err)
		}
		if err := unix.Fchmodat(r.top, name, 0o666, 0); err != nil {
			return fmt.Errorf("chmod /%s: %w", name, err)
		}
	}
	if !r.proc {
		return nil
	}
	for name, target := range devLinks {
		if err := unix.Symlinkat(target, r.top, "dev/"+name); err != nil {
			return fmt.Errorf("symlink /dev/%s: %w", name, err)
		}
	}
	if err := unix.Mkdirat(r.top, "proc", 0o555); err != nil {
		return fmt.Errorf("mkdir /proc: %w", err)
	}
	return nil
}

// binds lists what is to be mounted, parents before children.
func (r *rootTree) binds(s *Sandbox) ([]Bind, error) {
	list := append([]Bind(nil), s.Binds...)
	for _, b := range list {
		if !path.IsAbs(b.Path) || path.Clean(b.Path) != b.Path || b.Path == "/" {
			return nil, fmt.Errorf("file %q of %s: not an absolute, clean path", b.Path, s.Name)
		}
		for _, own := range []string{"/tmp", "/dev", "/proc"} {
			if b.Path == own {
				return nil, fmt.Errorf("file %s of %s: %s is private to each domain; list what is in it", b.Path, s.Name, own)
			}
		}
	}
	if s.Host {
		for _, t := range hostTrees {
			list = append(list, Bind{Path: t, Access: image.Read | image.Execute})
		}
	}
	if s.image == nil && !(s.Host && underHost(s.Program)) {
		list = append(list, Bind{Path: s.Program, Access: image.Read | image.Execute})
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].Path < list[j].Path })
	return list, nil
}

func underHost(name string) bool {
	for _, t := range hostTrees {
		if strings.HasPrefix(name, t+"/") {
			return true
		}
	}
	return false
}

// add prepares one bind: a private clone of the host's mount with the flags
// that fit, and a place for it.
func (r *rootTree) add(s *Sandbox, b Bind) error {
	host := s.Host && isHostTree(b.Path)
	if host {
		if target, err := os.Readlink(b.Path); err == nil {
			return r.symlink(b.Path, target)
		}
	}
	src, err := openTrusted(b.Path)
	if err != nil {
		if host && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	defer unix.Close(src)
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return fmt.Errorf("stat %s: %w", b.Path, err)
	}
	kind := st.Mode & unix.S_IFMT
	if kind == unix.S_IFBLK || kind == unix.S_IFSOCK {
		return fmt.Errorf("%s: a block device or a socket cannot be listed as a file", b.Path)
	}
	var disk *diskBinder
	if s.Disk.Project != 0 && b.Access&image.Write != 0 && (kind == unix.S_IFDIR || kind == unix.S_IFREG) {
		disk = &r.disk
	}
	tree, err := cloneMount(src, b, s.UID, s.GID, kind, disk)
	if err != nil {
		return fmt.Errorf("%s: %w", b.Path, err)
	}
	m := mountPoint{fd: r.own(tree), path: b.Path, access: b.Access, dir: kind == unix.S_IFDIR}
	for _, o := range r.mounts {
		if o.dir && strings.HasPrefix(b.Path, o.path+"/") {
			m.nested = true
		}
	}
	if !m.nested {
		if err := r.place(b.Path, m.dir); err != nil {
			return err
		}
	}
	r.mounts = append(r.mounts, m)
	return nil
}

func isHostTree(name string) bool {
	for _, t := range hostTrees {
		if t == name {
			return true
		}
	}
	return false
}

// cloneMount makes a detached mount of what src refers to, which is of a kind
// (S_IFMT). It receives no later mounts of the host, and sends none. With disk
// it is of the domain's project; what is mounted below, where it would not
// count, is then not shown.
func cloneMount(src int, b Bind, uid, gid uint32, kind uint32, disk *diskBinder) (int, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_EMPTY_PATH)
	if !b.AsRoot && (disk == nil || disk.Bytes == 0) {
		flags |= unix.AT_RECURSIVE
	}
	tree, err := unix.OpenTree(src, "", flags)
	if err != nil {
		return -1, fmt.Errorf("open_tree: %w", err)
	}
	if disk != nil {
		if err := disk.bind(tree, b.Path, kind == unix.S_IFDIR); err != nil {
			unix.Close(tree)
			return -1, err
		}
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID, Propagation: unix.MS_PRIVATE}
	if kind != unix.S_IFCHR {
		attr.Attr_set |= unix.MOUNT_ATTR_NODEV
	}
	if b.Access&image.Write == 0 {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if b.Access&image.Execute == 0 {
		attr.Attr_set |= unix.MOUNT_ATTR_NOEXEC
	}
	at := uint(unix.AT_EMPTY_PATH)
	if b.AsRoot {
		ns, err := idmapNamespace(uid, gid)
		if err != nil {
			unix.Close(tree)
			return -1, err
		}
		defer ns.Close()
		attr.Attr_set |= unix.MOUNT_ATTR_IDMAP
		attr.Userns_fd = uint64(ns.Fd())
	} else {
		at |= unix.AT_RECURSIVE
	}
	if err := setMount(tree, at, attr); err != nil {
		unix.Close(tree)
		if b.AsRoot && err == unix.EINVAL {
			return -1, fmt.Errorf("as: root needs a file system with ID-mapped mounts: %w", err)
		}
		return -1, fmt.Errorf("mount_setattr: %w", err)
	}
	return tree, nil
}

// setMount sets what a mount allows. On one that cannot be written the kernel
// need not think about times of access, either, which it would not write: less
// for each read. In a user namespace they cannot be set (mount_setattr(2),
// EPERM), and the rest can.
func setMount(tree int, at uint, attr unix.MountAttr) error {
	if attr.Attr_set&unix.MOUNT_ATTR_RDONLY == 0 {
		return unix.MountSetattr(tree, "", at, &attr)
	}
	quick := attr
	quick.Attr_set |= unix.MOUNT_ATTR_NOATIME
	quick.Attr_clr |= unix.MOUNT_ATTR__ATIME
	err := unix.MountSetattr(tree, "", at, &quick)
	if err == unix.EPERM {
		err = unix.MountSetattr(tree, "", at, &attr)
	}
	return err
}

// place makes the directories that lead to name in the new root, and an empty
// file or directory for it.
func (r *rootTree) place(name string, dir bool) error {
	rel := strings.TrimPrefix(name, "/")
	for i, c := range rel {
		if c == '/' {
			if err := unix.Mkdirat(r.top, rel[:i], 0o755); err != nil && err != unix.EEXIST {
				return fmt.Errorf("mkdir %s in the new root: %w", name[:i+1], err)
			}
		}
	}
	if dir {
		if err := unix.Mkdirat(r.top, rel, 0o755); err != nil && err != unix.EEXIST {
			return fmt.Errorf("mkdir %s in the new root: %w", name, err)
		}
		return nil
	}
	// It is not opened: another start copies descriptors meanwhile, and a root of which a file
	// is open for writing anywhere cannot be made read-only.
	err := unix.Mknodat(r.top, rel, unix.S_IFREG|0o444, 0)
	if err == unix.EEXIST {
		var st unix.Stat_t
		if err = unix.Fstatat(r.top, rel, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
			err = unix.EEXIST
		}
	}
	if err != nil {
		return fmt.Errorf("create %s in the new root: %w", name, err)
	}
	return nil
}

func (r *rootTree) symlink(name, target string) error {
	rel := strings.TrimPrefix(name, "/")
	if dir := path.Dir(rel); dir != "." {
		if err := r.place("/"+dir, true); err != nil {
			return err
		}
	}
	if err := unix.Symlinkat(target, r.top, rel); err != nil {
		return fmt.Errorf("symlink %s in the new root: %w", name, err)
	}
	return nil
}
