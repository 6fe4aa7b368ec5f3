package monitor

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"ward/audit/event"
	"ward/image"
	"ward/monitor/admin"
)

// changeTimeout bounds a change: verifying the programs of all its routes, and
// the end of domains that it stops.
const changeTimeout = 2 * time.Minute

// recvAdmin reads a request, and at most one descriptor with it.
func recvAdmin(conn *os.File, b []byte) (n int, file *os.File, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, nil, err
	}
	oob := make([]byte, unix.CmsgSpace(4))
	var oobn, flags int
	var recvErr error
	err = raw.Read(func(fd uintptr) bool {
		n, oobn, flags, _, recvErr = unix.Recvmsg(int(fd), b, oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
		return recvErr != unix.EAGAIN && recvErr != unix.EINTR
	})
	if err = errors.Join(err, recvErr); err != nil {
		return 0, nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return 0, nil, err
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			if file == nil {
				file = os.NewFile(uintptr(fd), "policy image")
			} else {
				unix.Close(fd)
			}
		}
	}
	if flags&unix.MSG_CTRUNC != 0 {
		err = errors.New("more descriptors than one")
	}
	return n, file, err
}

// sendImage sends the image that is in force.
func (m *Monitor) sendImage(conn *os.File) {
	m.mu.Lock()
	var sealed *os.File
	var err error
	if m.Sealed != nil {
		sealed, err = dup(m.Sealed)
	}
	m.mu.Unlock()
	if err != nil || sealed == nil {
		return
	}
	defer sealed.Close()
	io.Copy(conn, io.NewSectionReader(sealed, 0, image.MaxImage))
}

// awaitStart waits until all domains are started, so that a change can be asked
// for as soon as the system answers. It returns at once if they are, or if the
// system stops; the change says then why it cannot be.
func (m *Monitor) awaitStart(ctx context.Context) {
	m.mu.Lock()
	started := m.started
	m.mu.Unlock()
	if started {
		return
	}
	select {
	case <-m.up:
	case <-m.stop:
	case <-ctx.Done():
	}
}

var changeKinds = map[admin.Kind]event.Kind{admin.Reload: event.Reloaded, admin.Revoke: event.Revoked, admin.Grant: event.Granted}

// answerChange puts another image into force.
func (m *Monitor) answerChange(conn *os.File, b []byte, uid uint32, file *os.File) {
	r := &request{uid: uid, running: hex.EncodeToString(b[3:admin.ChangeSize]), dry: b[2] == 1, text: string(b[admin.ChangeSize:]), sealed: file}
	var known bool
	if r.kind, known = changeKinds[admin.Kind(b[1])]; !known || b[2] > 1 {
		return
	}
	ctx, cancel := context.WithTimeout(m.work.ctx, changeTimeout)
	defer cancel()
	m.awaitStart(ctx)
	changed, err := m.change(ctx, r)
	if err != nil {
		changed = &admin.Changed{Error: err.Error()}
	}
	conn.SetDeadline(time.Now().Add(adminTimeout))
	json.NewEncoder(conn).Encode(changed)
}
