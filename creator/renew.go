package creator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"ward/image"
)

// opRenew gives the creator another image: a descriptor, sealed.
const opRenew op = 4

func init() { requests[opRenew] = request{files: 1, do: (*creator).renew} }

// Renew gives the creator another image of the same system, sealed, for what is
// started from now on. It must have the numbers of the creator's own
// (image.Align), so that user IDs stay those of their domains. An error changes nothing.
func (c *Client) Renew(ctx context.Context, sealed *os.File) error {
	_, err := c.ask(ctx, message{op: opRenew}, sealed)
	return err
}

// renew takes another image. What it says is checked as at the start: nobody
// can change it any more, it decodes, and it names the domains that run.
func (c *creator) renew(m message, files []*os.File) (bool, error) {
	img, err := readSealed(files[0])
	if err == nil {
		err = c.adopt(img)
	}
	if err != nil {
		return false, c.fail(m, "the creator refuses the new image: %v", err)
	}
	return false, send(c.fd, message{op: opDone, seq: m.seq})
}

func (c *creator) adopt(img *image.Image) error {
	if uint64(c.cfg.UIDBase)+uint64(len(img.Domains)) >= 1<<32 {
		return fmt.Errorf("user IDs from %d on do not fit %d domains", c.cfg.UIDBase, len(img.Domains))
	}
	if img.Name != c.img.Name {
		return fmt.Errorf("it is of another system, %q", img.Name)
	}
	for i := range min(len(img.Domains), len(c.img.Domains)) {
		if was := c.img.Domains[i].Name; img.Domains[i].Name != was {
			return fmt.Errorf("domain %d is %s and was %s, so it would have its user ID", i, img.Domains[i].Name, was)
		}
		if d := &img.Domains[i]; d.Names && d.Program == "" {
			d.Program = c.img.Domains[i].Program
		}
	}
	for id, r := range c.running {
		if c.family.Kin(id) == nil && int(id) >= len(img.Domains) {
			return fmt.Errorf("it lacks domain %d, which runs as process %d", id, r.process.PID)
		}
	}
	if err := c.raiseLocked(img); err != nil {
		fmt.Fprintf(os.Stderr, "wardd creator: %v\n", err)
	}
	c.img = img
	c.family.Renew(img)
	return nil
}

// readSealed reads an image that nobody can change any more.
func readSealed(f *os.File) (*image.Image, error) {
	const seals = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if got, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0); err != nil || got&seals != seals {
		return nil, errors.New("it is not a sealed memfd")
	}
	encoded, err := io.ReadAll(io.NewSectionReader(f, 0, image.MaxImage+1))
	if err != nil {
		return nil, err
	}
	return image.Decode(encoded)
}
