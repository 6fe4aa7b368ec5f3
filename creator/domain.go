package creator

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"ward/abi"
	"ward/image"
	"ward/kernel"
)

func (c *creator) uid(id abi.DomainID) uint32 { return c.cfg.UIDBase + uint32(id) }

// spawn makes the protection domain that the image describes.
func (c *creator) spawn(id abi.DomainID, control, output *os.File) (_ *running, err error) {
	d := c.family.Def(id)
	s, err := c.sandbox(id)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", d.Name, err)
	}
	c.descriptors(s, control, output)
	r := &running{domain: id}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	if err := c.limit(r, s); err != nil {
		return nil, fmt.Errorf("start %s: %w", d.Name, err)
	}
	if s.Network.Guarded() {
		if r.cgroup == nil {
			return nil, fmt.Errorf("start %s: its network addresses cannot be enforced: %w", d.Name, kernel.ErrNoCgroup2)
		}
		if r.guard, err = kernel.NewGuard(r.cgroup, &s.Network, id); err != nil {
			return nil, fmt.Errorf("start %s: %w", d.Name, err)
		}
	}
	if err := c.watchDisk(id); err != nil {
		return nil, fmt.Errorf("start %s: %w", d.Name, err)
	}
	p, err := s.Start()
	if err != nil {
		c.unwatchDisk(id)
		return nil, err
	}
	r.process = p
	if r.cgroup != nil {
		r.cgroup.Born()
	}
	return r, nil
}

// sandbox translates a domain of the image.
func (c *creator) sandbox(id abi.DomainID) (*kernel.Sandbox, error) {
	d := c.family.Def(id)
	n, err := c.network(id)
	if err != nil {
		return nil, err
	}
	s := &kernel.Sandbox{
		Name: d.Name, Program: d.Program, Digest: d.Digest, Args: d.Args, Host: d.Host, Env: append([]string(nil), d.Env...),
		UID: c.uid(id), GID: c.uid(id), Tmp: d.Tmp, Network: n, Without: c.cfg.Without,
	}
	s.Copies = &c.copies
	for _, p := range d.Pins {
		s.Pins = append(s.Pins, kernel.Pin{Path: p.Path, Digest: p.Digest})
	}
	if s.Tmp == 0 {
		s.Tmp = image.DefaultTmp
	}
	if s.Disk, err = c.disk(id); err != nil {
		return nil, err
	}
	for _, f := range d.Files {
		if f.Verdict.Allow {
			s.Binds = append(s.Binds, kernel.Bind{Path: f.Path, Access: f.Access, AsRoot: f.AsRoot})
		}
	}
	return s, nil
}

// dirName is a domain's name if that can be a directory's, else its number. A
// child has its number, whatever the monitor calls it, and no domain of the
// image has a name with a dot.
func dirName(name string, id abi.DomainID) string {
	if isChild(id) {
		return "child." + strconv.Itoa(int(id))
	}
	if name == "" || len(name) > 64 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" || strings.HasPrefix(name, "cgroup") {
		return "domain-" + strconv.Itoa(int(id))
	}
	return name
}
