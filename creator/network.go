package creator

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"ward/abi"
	"ward/image"
	"ward/kernel"
)

// network translates what a domain may do with sockets.
func (c *creator) network(id abi.DomainID) (kernel.Network, error) {
	d := c.family.Def(id)
	n := kernel.Network{Notify: d.Notify, Messages: !c.img.HasGates(int(c.family.Base(id)))}
	for _, l := range d.Listen {
		if path, ok := strings.CutPrefix(l.Address, image.UnixAddress); ok {
			n.Sockets = append(n.Sockets, kernel.Socket{Name: l.Name, Inode: path})
			continue
		}
		r, err := image.ParseNetRule(l.Address)
		switch {
		case err != nil:
			return n, err
		case !l.Self:
			n.Sockets = append(n.Sockets, kernel.Socket{Name: l.Name, Rule: r})
		case n.Messages:
			n.Bind = append(n.Bind, r)
		default:
			return n, errors.New("a domain with gates may not bind " + l.Address + " itself")
		}
	}
	for _, a := range d.Connect {
		r, err := image.ParseNetRule(a)
		if err != nil {
			return n, err
		}
		n.Connect = append(n.Connect, r)
	}
	return n, nil
}

// descriptors fills in the descriptors of a domain and the variables that
// tell it of them: sockets are where sd_listen_fds(3) looks, the control
// channel is behind them.
func (c *creator) descriptors(s *kernel.Sandbox, control, output *os.File) {
	var names []string
	s.Files = []*os.File{nil, output, output}
	for _, l := range s.Network.Sockets {
		names = append(names, l.Name)
		s.Files = append(s.Files, nil)
	}
	s.Env = append(s.Env, abi.ControlEnv+"="+strconv.Itoa(len(s.Files)))
	s.Files = append(s.Files, control)
	if len(names) > 0 {
		// It is process 1 of its PID namespace.
		s.Env = append(s.Env, "LISTEN_PID=1", "LISTEN_FDS="+strconv.Itoa(len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	}
	if s.Network.Notify {
		s.Env = append(s.Env, "NOTIFY_SOCKET="+kernel.NotifyPath)
	}
}

// close gives up what belongs to a domain without a process.
func (r *running) close() error {
	var err error
	if r.guard != nil {
		r.guard.Close()
	}
	if r.cgroup != nil {
		err = r.cgroup.Remove()
	}
	return err
}

// removeSockets removes the paths of sockets that were handed over to a
// domain that has ended. One that another program has taken over stays.
func (c *creator) removeSockets(id abi.DomainID) {
	for _, l := range c.family.Def(id).Listen {
		if path, ok := strings.CutPrefix(l.Address, image.UnixAddress); ok {
			kernel.RemoveSocket(path) // an error: the next start says what is in the way
		}
	}
}
