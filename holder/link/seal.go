package link

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ImageFD is the descriptor of the sealed image that each process of wardd is
// started with. FirstFD is the first one after it: the channel to the holder
// (monitor), to the monitor (creator), of events (audit). The monitor's next two
// are those to the creator and of events.
const (
	ImageFD = 3
	FirstFD = ImageFD + 1
)

const seals = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

// Seal puts an encoded image into a memfd that nobody can change any more, to
// be passed on to the processes of wardd. The descriptor is open for reading only.
func Seal(image []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("ward image", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL { // before Linux 6.3
		fd, err = unix.MemfdCreate("ward image", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, fmt.Errorf("memory for the policy image: %w", err)
	}
	f := os.NewFile(uintptr(fd), "policy image")
	defer f.Close()
	if _, err = f.Write(image); err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals)
	}
	if err != nil {
		return nil, fmt.Errorf("sealing the policy image: %w", err)
	}
	// A shared mapping that may become writable is refused on a sealed memfd
	// before Linux 6.7, and a file that is open for writing allows one.
	only, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return nil, fmt.Errorf("the sealed policy image: %w", err)
	}
	return only, nil
}

// Sealed reports whether f is a memfd with all seals.
func Sealed(f *os.File) error {
	got, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if err != nil || got&seals != seals {
		return errors.New("the policy image is not a sealed memfd: whoever made it could still change it; start wardd by `ward up`")
	}
	return nil
}

// maxMapped is the size of a mapping in bytes; the image's own bound is lower.
const maxMapped = 1 << 30

// Map maps a sealed image for reading, shared, for as long as the process
// lives: memory that not even a write through /proc/PID/mem by root changes.
// What is decoded from it is ordinary memory (CAVEATS.md).
func Map(f *os.File) ([]byte, error) {
	if err := Sealed(f); err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("policy image: %w", err)
	}
	if st.Size() == 0 || st.Size() > maxMapped {
		return nil, fmt.Errorf("policy image: %d bytes; from 1 to %d are possible", st.Size(), maxMapped)
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the policy image: %w", err)
	}
	return b, nil
}
