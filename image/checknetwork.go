package image

import (
	"fmt"
	"strings"
)

// maxListens bounds the sockets that are handed over: each is a descriptor.
const maxListens = 64

// UnixAddress is how the address of a Unix socket begins in a Listen; its path follows.
const UnixAddress = "unix:"

// checkNetwork checks what a domain may do with sockets, and how it lives.
func checkNetwork(d *Domain, sockets map[string]bool) error {
	if d.Restart > RestartAlways {
		return fmt.Errorf("restart %d: 0 to %d are possible", d.Restart, RestartAlways)
	}
	if n := len(d.Listen); n > maxListens {
		return fmt.Errorf("%d entries of listen: the limit is %d", n, maxListens)
	}
	names := map[string]bool{}
	for _, l := range d.Listen {
		if !isText(l.Name, 255) || strings.Contains(l.Name, ":") || names[l.Name] {
			return fmt.Errorf("listen %q is not a name, or is there twice", clip(l.Name))
		}
		names[l.Name] = true
		if path, ok := strings.CutPrefix(l.Address, UnixAddress); ok {
			if l.Self || !isPath(path) || len(path) > maxSocket || sockets[path] {
				return fmt.Errorf("socket %q is not an absolute, clean path of at most %d bytes that Ward makes, or is there twice", clip(path), maxSocket)
			}
			sockets[path] = true
			continue
		}
		r, err := ParseNetRule(l.Address)
		if err != nil {
			return fmt.Errorf("listen %s: %w", l.Name, err)
		}
		if r.Port == 0 || r.Prefix.IsValid() && !r.Prefix.IsSingleIP() {
			return fmt.Errorf("listen %s: %s is not one address and port", l.Name, l.Address)
		}
	}
	for _, a := range d.Connect {
		if _, err := ParseNetRule(a); err != nil {
			return fmt.Errorf("connect: %w", err)
		}
	}
	for _, s := range d.Needs {
		if !isText(s, 256) {
			return fmt.Errorf("needs: %q is not text", clip(s))
		}
	}
	return nil
}

// HasGates reports whether a domain can ever hold the end of a gate: it
// exports something, a route is its own, it may be lent an entry point, or it
// reads a mailbox.
func (img *Image) HasGates(id int) bool {
	if len(img.Domains[id].Exports) > 0 {
		return true
	}
	for i := range img.Objects {
		if o := &img.Objects[i]; o.Kind == ObjectMailbox && id < len(o.Read) && o.Read[id].Allow {
			return true
		}
	}
	for i := range img.Grants {
		if int(img.Grants[i].To) == id && img.Grants[i].Verdict.Allow {
			return true
		}
	}
	for i := range img.Routes {
		if int(img.Routes[i].Client) == id || int(img.Routes[i].Server) == id {
			return true
		}
	}
	return false
}
