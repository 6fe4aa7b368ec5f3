package monitor

import (
	"os"

	"ward/holder/link"
)

// HolderLink is the monitor's side of the channel to the holder.
type HolderLink struct{ *link.Conn }

// Keep gives the holder copies of descriptors, on which gates depend.
func (h HolderLink) Keep(files ...*os.File) error {
	for len(files) > 0 {
		n := min(len(files), link.MaxFiles)
		if err := h.Tell(link.Keep, "", files[:n]...); err != nil {
			return err
		}
		files = files[n:]
	}
	return nil
}

// Guard gives the holder a copy of a domain's pidfd.
func (h HolderLink) Guard(pidfd *os.File) error { return h.Tell(link.Guard, "", pidfd) }

// Bound tells the holder of a path to remove at the end.
func (h HolderLink) Bound(path string) error { return h.Tell(link.Bound, path) }

// Ready says that all domains are started.
func (h HolderLink) Ready() error { return h.Tell(link.Ready, "") }

// AwaitStop returns when the holder wants the ordered stop, or has ended.
func (h HolderLink) AwaitStop() {
	for {
		k, _, files, err := h.Hear()
		link.CloseAll(files)
		if err != nil || k == link.Stop {
			return
		}
	}
}
