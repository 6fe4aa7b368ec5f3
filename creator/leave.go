package creator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// A creator that comes in another's place, and cannot be told all that runs, is of no
// use, but what runs is not its own: it ends as if it were killed, and the next one
// is told all. Only the end of its channel, and a monitor that breaks the protocol
// once the creator serves, end all that runs.

// opLeave ends the creator, and nothing else. It is not answered.
const opLeave op = 12

func init() { requests[opLeave] = request{do: (*creator).leave} }

// ErrUnserved: the creator has ended without having come into service. All that runs goes on.
var ErrUnserved = errors.New("what runs cannot be taken over, so it goes on without this creator")

// Leave makes a creator that cannot be brought into service end, and leave what runs to the
// next one. What is asked of it after that is answered with ErrGone. An error means that it
// has died already, or that ctx has ended.
func (c *Client) Leave(ctx context.Context) error {
	return c.post(ctx, message{op: opLeave, seq: 1})
}

func (c *creator) leave(message, []*os.File) (bool, error) { return true, ErrUnserved }

// unserved is the error of a creator that must leave what runs alone; nil: it
// clears up. err is why its loop has ended.
func (c *creator) unserved(err error) error {
	switch {
	case errors.Is(err, ErrUnserved):
		return fmt.Errorf("creator: %w", err)
	case !c.stranger || err == nil || errors.Is(err, io.EOF) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET):
		return nil // a stop, or nobody has the other end any more: the system's end
	}
	return fmt.Errorf("creator: %w: %w", ErrUnserved, err)
}
