package admin

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"ward/image"
)

// MaxRequest is the longest request, in bytes.
const MaxRequest = 2048

// ChangeSize is the length of an OpChange without its text: operation, Kind,
// 1 if nothing is to be changed, and the hash of the image that must be in force.
const ChangeSize = 3 + 32

// Kind says what a change is, for the audit log.
type Kind byte

const (
	Reload Kind = 1
	Revoke Kind = 2
	Grant  Kind = 3
)

// A Change asks to put another image into force.
type Change struct {
	Kind    Kind
	DryRun  bool   // only say what would happen
	Running string // hash of the image that the new one was aligned with
	Text    string // for the audit log
	Image   *os.File
}

// Changed is what came of a change.
type Changed struct {
	Error   string   `json:"error,omitempty"` // why nothing was changed
	Hash    string   `json:"hash"`            // of the new image
	Routes  int      `json:"routes"`          // pairs of filters that were replaced
	Gates   int      `json:"gates"`           // open gates on these
	Closed  []Dying  `json:"closed,omitempty"`
	Started []string `json:"started,omitempty"` // domains
	Stopped []string `json:"stopped,omitempty"`
	Failed  []string `json:"failed,omitempty"` // domains that did not start, and why
	Swap    int64    `json:"swap_ns"`          // from the first filter swapped to the last
	Whole   int64    `json:"done_ns"`          // until every filter that ran the old policy had ended
}

// A Dying is a gate that the new policy does not allow.
type Dying struct {
	Gate
	Reason string `json:"reason"`
	Policy string `json:"policy,omitempty"`
}

// Image asks for the image that is in force, encoded.
func Image(ctx context.Context, runDir string) ([]byte, error) {
	conn, err := dial(ctx, runDir)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte{byte(OpImage)}); err != nil {
		return nil, silence(conn.Name(), err)
	}
	b, err := readAll(conn, image.MaxImage)
	var f Trailer
	if err == nil && len(b) > 0 && b[0] == '{' && json.Unmarshal(b, &f) == nil && f.Error != "" {
		err = errors.New(f.Error)
	}
	return b, err
}

// Ask asks for a change. The error of one that was refused is what the monitor says.
func (c *Change) Ask(ctx context.Context, runDir string) (*Changed, error) {
	hash, err := hex.DecodeString(c.Running)
	if err != nil || len(hash) != 32 {
		return nil, fmt.Errorf("%q is not the hash of an image", c.Running)
	}
	conn, err := dial(ctx, runDir)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	request := append([]byte{byte(OpChange), byte(c.Kind), 0}, hash...)
	if c.DryRun {
		request[2] = 1
	}
	request = append(request, c.Text[:min(len(c.Text), MaxRequest-ChangeSize)]...)
	if err := send(conn, request, c.Image); err != nil {
		return nil, silence(conn.Name(), err)
	}
	answer, err := readAll(conn, 16<<20)
	if err != nil {
		if c.DryRun {
			return nil, err
		}
		return nil, fmt.Errorf("%w; %w", err, c.became(ctx, runDir))
	}
	var changed Changed
	if err := json.Unmarshal(answer, &changed); err != nil { // it is one line, so a part of it is no value
		if c.DryRun {
			return nil, fmt.Errorf("%s: %w", conn.Name(), ErrCut)
		}
		return nil, fmt.Errorf("%s: the monitor has ended in the middle of its answer; %w", conn.Name(), c.became(ctx, runDir))
	}
	if changed.Error != "" {
		return nil, errors.New(changed.Error)
	}
	return &changed, nil
}

// became says what became of a change whose monitor died before it said so. The next
// one completes what was begun, or takes it back, before it looks at another
// change, and so at what this asks: the same, only to say what would happen.
func (c *Change) became(ctx context.Context, runDir string) error {
	again := *c
	again.DryRun = true
	err := repeat(ctx, func() error {
		_, err := again.Ask(ctx, runDir)
		return err
	})
	if errors.Is(err, ErrCut) || errors.Is(err, errBusy) || errors.Is(err, ErrSilent) {
		return errUnknown
	} // else it was asked, whatever it says
	var now []byte
	if err := repeat(ctx, func() (err error) {
		now, err = Image(ctx, runDir)
		return err
	}); err != nil {
		return errUnknown
	}
	wanted, err := io.ReadAll(io.NewSectionReader(c.Image, 0, image.MaxImage))
	if err != nil {
		return errUnknown
	}
	switch image.Hash(now) {
	case image.Hash(wanted):
		return errMade
	case c.Running:
		return errNotMade
	}
	return errUnknown
}

// send sends a request with a descriptor, as one message.
func send(conn *os.File, request []byte, file *os.File) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = raw.Write(func(fd uintptr) bool {
		sendErr = unix.Sendmsg(int(fd), request, unix.UnixRights(int(file.Fd())), nil, unix.MSG_NOSIGNAL)
		return sendErr != unix.EAGAIN
	})
	return errors.Join(err, sendErr)
}
