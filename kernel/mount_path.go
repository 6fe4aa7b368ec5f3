package kernel

import (
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks bounds the symbolic links on one path, as the kernel does.
const maxLinks = 40

// openTrusted opens an absolute path of the host as an O_PATH descriptor. It
// follows a symbolic link only where nobody but root can have made it: the
// link belongs to root and stands in a directory of root's that no one else
// may write. So a domain that may write a directory cannot lead the creator
// out of it.
func openTrusted(name string) (int, error) {
	if !path.IsAbs(name) || strings.ContainsRune(name, 0) {
		return -1, fmt.Errorf("%q: not an absolute path", name)
	}
	fd, err := unix.Openat2(unix.AT_FDCWD, name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS,
	})
	if err == nil {
		return fd, nil
	}
	if err != unix.ELOOP {
		return -1, fmt.Errorf("%s: %w", name, err)
	}
	return walkTrusted(name)
}

func walkTrusted(name string) (int, error) {
	const dirFlags = unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW
	stack := []int{} // open directories from the root down
	closeAll := func() {
		for _, fd := range stack {
			unix.Close(fd)
		}
	}
	root, err := unix.Open("/", dirFlags, 0)
	if err != nil {
		return -1, fmt.Errorf("/: %w", err)
	}
	stack = append(stack, root)
	todo := strings.Split(name, "/")
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		top := len(stack) - 1
		switch part {
		case "", ".":
			continue
		case "..":
			if top > 0 {
				unix.Close(stack[top])
				stack = stack[:top]
			}
			continue
		}
		fd, err := unix.Openat(stack[top], part, dirFlags, 0)
		if err != nil {
			closeAll()
			return -1, fmt.Errorf("%s: %s: %w", name, part, err)
		}
		var st, dir unix.Stat_t
		if err = unix.Fstat(fd, &st); err == nil {
			err = unix.Fstat(stack[top], &dir)
		}
		if err != nil {
			unix.Close(fd)
			closeAll()
			return -1, fmt.Errorf("%s: %s: %w", name, part, err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFLNK {
			stack = append(stack, fd)
			continue
		}
		target, err := readLink(fd)
		unix.Close(fd)
		links++
		switch {
		case err != nil:
			err = fmt.Errorf("%s: %s: %w", name, part, err)
		case links > maxLinks:
			err = fmt.Errorf("%s: %w", name, unix.ELOOP)
		case singleUser(): // who runs the system and its domains are one user: nobody can tell whose the link is
			err = fmt.Errorf("%s: %s is a symbolic link; where an ordinary user runs the system none is followed: name its target instead", name, part)
		case st.Uid != 0 || dir.Uid != 0 || dir.Mode&0o022 != 0:
			err = fmt.Errorf("%s: %s is a symbolic link that somebody other than root can have made; name its target instead", name, part)
		}
		if err != nil {
			closeAll()
			return -1, err
		}
		if path.IsAbs(target) {
			for _, fd := range stack[1:] {
				unix.Close(fd)
			}
			stack = stack[:1]
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	last := stack[len(stack)-1]
	stack = stack[:len(stack)-1]
	closeAll()
	return last, nil
}

func readLink(fd int) (string, error) {
	var b [unix.PathMax]byte
	n, err := unix.Readlinkat(fd, "", b[:])
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}
