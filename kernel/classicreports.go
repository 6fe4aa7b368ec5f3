package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"ward/abi"
)

// Records of libraries travel on a SOCK_SEQPACKET pair. Its first message is the
// endpoint's maker's: whose it is, and the page, on which stands what the
// domain's gates are. All others are the domain's, and believed only as far as
// they are about those.
const reportsHello = "ward reports"

// maxJump is how many numbers a domain's records may leave out at once: more are
// not losses, but a lie.
const maxJump = 1 << 20

// newReports makes both ends.
func newReports(id abi.DomainID, page int) (ring, reports *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	hello := binary.LittleEndian.AppendUint32([]byte(reportsHello), uint32(id))
	if err := unix.Sendmsg(fds[1], hello, unix.UnixRights(page), nil, 0); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, nil, fmt.Errorf("first message of the reports: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "reports"), os.NewFile(uintptr(fds[1]), "reports of the library"), nil
}

// Reports reads the records of one domain's library. One goroutine may read at a time.
type Reports struct {
	file  *os.File
	id    abi.DomainID
	page  words
	last  uint64
	drain atomic.Bool
}

// OpenReports opens what came from ClassicEndpoint.Ring. The descriptor stays the caller's.
func OpenReports(f *os.File) (*Reports, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("reports: duplicate their descriptor: %w", err)
	}
	r, err := openReports(fd)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("reports: %w", err)
	}
	return r, nil
}

func openReports(fd int) (*Reports, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	var hello [64]byte
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := unix.Recvmsg(fd, hello[:], oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, err
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(msgs) != 1 {
		return nil, errors.New("no page came with the first message")
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.New("no page came with the first message")
	}
	defer unix.Close(fds[0])
	if n != len(reportsHello)+4 || string(hello[:len(reportsHello)]) != reportsHello {
		return nil, errors.New("malformed first message")
	}
	var st unix.Stat_t
	if err := unix.Fstat(fds[0], &st); err != nil {
		return nil, err
	}
	page, err := mapPage(fds[0], int(st.Size), unix.PROT_READ)
	if err != nil {
		return nil, err
	}
	return &Reports{file: os.NewFile(uintptr(fd), "reports"), id: abi.DomainID(binary.LittleEndian.Uint32(hello[len(reportsHello):])), page: page}, nil
}

// Read returns the next record. It waits for one, unless Drain was called; io.EOF
// says that there will be none. What is not a record of this domain's is left out.
func (r *Reports) Read() (abi.Record, error) {
	var b [abi.RecordSize + 1]byte
	for {
		n, err := r.file.Read(b[:])
		if err != nil && errors.Is(err, os.ErrDeadlineExceeded) && r.drain.Load() {
			n, err = r.rest(b[:])
		}
		if err != nil {
			r.page.unmap() // nothing is read after the end; an error: it is gone already
			return abi.Record{}, err
		}
		k, err := abi.ParseRecord(b[:n])
		if err == nil && r.believe(&k) {
			return k, nil
		}
	}
}

// rest reads without waiting.
func (r *Reports) rest(b []byte) (int, error) {
	raw, err := r.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	var n int
	var readErr error
	if err := raw.Control(func(fd uintptr) { n, readErr = unix.Read(int(fd), b) }); err != nil {
		return 0, err
	}
	if readErr != nil || n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// believe completes a record by what the page says of the gate, and reports
// whether it can be this domain's: of what it received, or of what its own
// library kept it from sending.
func (r *Reports) believe(k *abi.Record) bool {
	if k.Dir > abi.Reply || k.Reason == abi.ReasonNone || int64(k.Gate) >= int64(r.page.blocks()) {
		return false
	}
	gate, ends := r.page.load(k.Gate, abi.PageGate), r.page.load(k.Gate, abi.PageEnds)
	client, server := abi.DomainID(uint32(ends)), abi.DomainID(ends>>32)
	k.Gate, k.Route = uint32(gate), uint32(gate>>32)
	k.From, k.To = client, server
	if k.Dir == abi.Reply {
		k.From, k.To = server, client
	}
	k.Word, k.State = 0, 0
	if k.Seq <= r.last || k.Seq > r.last+maxJump {
		k.Seq = r.last + 1
	}
	r.last = k.Seq
	return k.To == r.id || k.From == r.id && !k.Reason.Allowed()
}

// Drain makes Read return what is there, and then an error.
func (r *Reports) Drain() error {
	r.drain.Store(true)
	return r.file.SetReadDeadline(time.Unix(1, 0))
}

// Close ends reading.
func (r *Reports) Close() error { return r.file.Close() }
