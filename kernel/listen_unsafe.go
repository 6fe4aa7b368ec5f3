package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"unsafe"

	"golang.org/x/sys/unix"
)

// FirstSocket is the descriptor of the first socket that is handed over (sd_listen_fds(3)).
const FirstSocket = 3

const listenBacklog = 4096 // the kernel lowers it to net.core.somaxconn

// sockets lists the steps that make and bind the sockets of the network, while
// the child is root, in the caller's network and mount namespaces, and in the
// domain's cgroup: the programs there judge a socket by the cgroup of its maker.
func (b *builder) sockets() error {
	p := b.program
	for i, s := range b.Network.Sockets {
		family, typ, addr, err := b.socketAddress(s)
		if err != nil {
			return err
		}
		what, at := " "+s.Name, FirstSocket+i
		fd := p.do("socket"+what, unix.SYS_SOCKET, family, typ|unix.SOCK_CLOEXEC, 0)
		p.do("dup3"+what, unix.SYS_DUP3, fd, at, 0)
		if family != unix.AF_UNIX {
			b.setOption(at, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		}
		if family == unix.AF_INET6 {
			only := int32(1)
			if !s.Rule.Prefix.IsValid() {
				only = 0 // both protocols
			}
			b.setOption(at, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only)
		}
		if family == unix.AF_UNIX {
			p.do("umask", unix.SYS_UMASK, 0) // who may connect is the program's to say
		}
		p.do("bind"+what, unix.SYS_BIND, at, unsafe.Pointer(&addr[0]), len(addr))
		if typ != unix.SOCK_DGRAM {
			p.do("listen"+what, unix.SYS_LISTEN, at, listenBacklog)
		}
	}
	// Of UDP two sockets with SO_REUSEADDR share an address, and who came last gets
	// the datagrams (udp(7) says nothing of it; net/ipv4/udp.c, udp_lib_lport_inuse).
	// So a domain's own may lie above each other, and no other one comes after.
	for i, s := range b.Network.Sockets {
		if s.Inode == "" && s.Rule.UDP {
			b.setOption(FirstSocket+i, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0)
		}
	}
	if !b.Network.host() && len(b.Network.Sockets) > 0 && b.has(WithNamespaces) {
		p.do("unshare network namespace", unix.SYS_UNSHARE, unix.CLONE_NEWNET)
	}
	return nil
}

func (b *builder) setOption(fd, level, name int, value int32) {
	b.program.do(fmt.Sprintf("setsockopt %d %d", level, name), unix.SYS_SETSOCKOPT, fd, level, name, unsafe.Pointer(&value), 4)
}

// socketAddress returns the family, type and struct sockaddr of a socket.
func (b *builder) socketAddress(s Socket) (family, typ int, addr []byte, err error) {
	if s.Inode != "" {
		addr, err = b.inodeAddress(s.Inode)
		return unix.AF_UNIX, unix.SOCK_STREAM, addr, err
	}
	typ = unix.SOCK_STREAM
	if s.Rule.UDP {
		typ = unix.SOCK_DGRAM
	}
	port := make([]byte, 2)
	binary.BigEndian.PutUint16(port, s.Rule.Port)
	if a := s.Rule.Prefix.Addr(); s.Rule.Prefix.IsValid() && a.Is4() || !s.Rule.Prefix.IsValid() && !haveIP6() {
		ip := a.As16()
		family = unix.AF_INET
		addr = append(binary.NativeEndian.AppendUint16(nil, unix.AF_INET), port...)
		if !s.Rule.Prefix.IsValid() {
			ip = [16]byte{}
		}
		return family, typ, append(append(addr, ip[12:]...), make([]byte, 8)...), nil
	}
	var ip [16]byte
	if s.Rule.Prefix.IsValid() {
		ip = s.Rule.Prefix.Addr().As16()
	}
	addr = append(binary.NativeEndian.AppendUint16(nil, unix.AF_INET6), port...)
	addr = append(append(append(addr, 0, 0, 0, 0), ip[:]...), 0, 0, 0, 0)
	return unix.AF_INET6, typ, addr, nil
}

// haveIP6 reports whether IPv6 sockets can be made here.
func haveIP6() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.Bind(fd, &unix.SockaddrInet6{}) == nil
}

// inodeAddress removes a socket that nobody listens on any more and returns
// the address of a new one, by a descriptor of its directory: nobody who may
// write above it can lead the bind elsewhere.
func (b *builder) inodeAddress(name string) ([]byte, error) {
	dir, err := openTrusted(path.Dir(name))
	if err != nil {
		return nil, err
	}
	b.own(dir)
	via := fmt.Sprintf("/proc/self/fd/%d/%s", dir, path.Base(name))
	if err := removeStale(via); err != nil {
		return nil, fmt.Errorf("socket %s: %w", name, err)
	}
	addr := append(binary.NativeEndian.AppendUint16(nil, unix.AF_UNIX), via...)
	if len(addr) > 2+107 {
		return nil, fmt.Errorf("socket %s: its last part is too long", name)
	}
	return append(addr, 0), nil
}

func removeStale(name string) error {
	st, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode()&os.ModeSocket == 0 {
		return errors.New("there is something else of that name")
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: name}); err != unix.ECONNREFUSED {
		return errors.New("another program listens on it")
	}
	return os.Remove(name)
}

// RemoveSocket removes the path of a socket that was handed over, if it still
// is a socket on which nobody listens.
func RemoveSocket(name string) error {
	dir, err := openTrusted(path.Dir(name))
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return removeStale(fmt.Sprintf("/proc/self/fd/%d/%s", dir, path.Base(name)))
}

// reserve occupies the descriptors below n, so that whatever is opened
// later does not lie where those of the child will. It returns what gives them back.
func reserve(n int) (release func(), err error) {
	var taken []int
	release = func() {
		for _, fd := range taken {
			unix.Close(fd)
		}
	}
	for {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			release()
			return nil, fmt.Errorf("open /dev/null: %w", err)
		}
		taken = append(taken, fd)
		if fd >= n {
			return release, nil
		}
	}
}

// NotifyPath is where a domain finds the socket on which it says that it is
// ready (NOTIFY_SOCKET of sd_notify(3)).
const NotifyPath = "/dev/ward-notify"

// notifySocket makes the socket of NotifyPath in a root. Nobody but the
// processes of this root can name it: what comes is theirs.
func notifySocket(top int) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("socket for sd_notify: %w", err)
	}
	f := os.NewFile(uintptr(fd), "notify socket")
	via := fmt.Sprintf("/proc/self/fd/%d%s", top, NotifyPath)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: via}); err != nil {
		f.Close()
		return nil, fmt.Errorf("socket for sd_notify: %w", err)
	}
	if err := unix.Fchmodat(top, NotifyPath[1:], 0o666, 0); err != nil {
		f.Close()
		return nil, fmt.Errorf("socket for sd_notify: %w", err)
	}
	return f, nil
}
