package callbench

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// pair makes a socket pair of the kind that gates are.
func pair() (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "client"), os.NewFile(uintptr(fds[1]), "server"), nil
}

// dialRaw makes one pair for each worker: the floor that every other peer is
// compared with has no multiplexing.
func dialRaw(context.Context, *Options) (*caller, error) {
	var clients [maxWorkers]*os.File
	var fds [maxWorkers]int
	var buffers [maxWorkers][]byte
	var servers []*os.File
	for i := range clients {
		a, b, err := pair()
		if err != nil {
			return nil, err
		}
		clients[i], fds[i], servers = a, int(a.Fd()), append(servers, b)
		buffers[i] = make([]byte, 128<<10)
	}
	stop, err := startPeer(Raw, servers)
	for _, f := range servers {
		f.Close()
	}
	if err != nil {
		return nil, err
	}
	return &caller{
		call: func(_ context.Context, w int, payload []byte) error {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if _, err := unix.Write(fds[w], payload); err != nil {
				return os.NewSyscallError("write", err)
			}
			n, err := unix.Read(fds[w], buffers[w])
			if err == nil && n != len(payload) {
				err = fmt.Errorf("%d bytes came back", n)
			}
			return err
		},
		close: func() {
			stop()
			for _, f := range clients {
				f.Close()
			}
		},
	}, nil
}

func serveRaw([]string) error {
	var wg sync.WaitGroup
	for i := range maxWorkers {
		wg.Go(func() {
			runtime.LockOSThread()
			buf := make([]byte, 128<<10)
			for {
				n, err := unix.Read(3+i, buf)
				if n <= 0 || err == io.EOF {
					return
				}
				if _, err := unix.Write(3+i, buf[:n]); err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return nil
}
