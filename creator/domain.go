package creator

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"ward/abi"
	"ward/kernel"
)

// defaultTmp is the size of /tmp in bytes where the system does not state one.
const defaultTmp = 16 << 20

func (c *creator) uid(id abi.DomainID) uint32 { return c.cfg.UIDBase + uint32(id) }

// spawn makes the protection domain that the image describes.
func (c *creator) spawn(id abi.DomainID, control, output *os.File) (_ *running, err error) {
	d := &c.img.Domains[id]
	s, err := c.sandbox(id)
	if err != nil {
		return nil, err
	}
	s.Files = []*os.File{nil, output, output, control}
	if c.tree != nil {
		s.Cgroup, err = c.tree.New(dirName(d.Name, id), kernel.CgroupLimits{
			Memory: d.Quota.Memory, CPUWeight: d.Quota.CPUWeight, Processes: d.Quota.Processes,
		})
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", d.Name, err)
		}
	} else if d.Quota.Memory != 0 || d.Quota.CPUWeight != 0 {
		return nil, fmt.Errorf("start %s: its quota of memory or CPU cannot be enforced: %w", d.Name, kernel.ErrNoCgroup2)
	}
	p, err := s.Start()
	if err != nil {
		if s.Cgroup != nil {
			s.Cgroup.Remove()
		}
		return nil, err
	}
	return &running{domain: id, process: p, cgroup: s.Cgroup}, nil
}

// sandbox translates a domain of the image.
func (c *creator) sandbox(id abi.DomainID) (*kernel.Sandbox, error) {
	d := &c.img.Domains[id]
	if len(d.Listen) > 0 || len(d.Connect) > 0 {
		return nil, fmt.Errorf("start %s: listen: and connect: cannot be enforced by this version of Ward; leave them out", d.Name)
	}
	s := &kernel.Sandbox{
		Name: d.Name, Program: d.Program, Digest: d.Digest, Args: d.Args, Host: d.Host,
		Env: append(append([]string(nil), d.Env...), abi.ControlEnv+"="+strconv.Itoa(abi.ControlFD)),
		UID: c.uid(id), GID: c.uid(id), Tmp: d.Tmp, Without: c.cfg.without,
		Limits: kernel.Limits{Processes: d.Quota.Processes, Files: d.Quota.Files},
	}
	if s.Tmp == 0 {
		s.Tmp = defaultTmp
	}
	for _, f := range d.Files {
		if f.Verdict.Allow {
			s.Binds = append(s.Binds, kernel.Bind{Path: f.Path, Access: f.Access, AsRoot: f.AsRoot})
		}
	}
	return s, nil
}

// dirName is a domain's name if that can be a directory's, else its number.
func dirName(name string, id abi.DomainID) string {
	if name == "" || len(name) > 64 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" || strings.HasPrefix(name, "cgroup") {
		return "domain-" + strconv.Itoa(int(id))
	}
	return name
}
