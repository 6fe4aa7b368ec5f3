package monitor

import (
	"fmt"
	"os"
	osuser "os/user"
	"slices"
	"strconv"

	"ward/abi"
	"ward/image"
)

// Credentials are what the kernel knows of who connected: at the time of its
// connect, and pinned by a descriptor where the kernel can (Linux 6.5).
type Credentials struct {
	UID, GID, PID uint32
	Groups        []uint32 // supplementary
	Pidfd         *os.File // nil where the kernel has no SO_PEERPIDFD
}

// users maps the names of the policy to numbers, as they were when the system
// started: the one time that the monitor reads a text (/etc/passwd and
// /etc/group, or what the C library's name service would, if it is linked).
type users struct {
	uids map[uint32]int // index in Image.Users
	gids map[uint32]int // index in Image.Groups
	img  *image.Image
}

func resolveUsers(img *image.Image) (*users, error) {
	u := &users{map[uint32]int{}, map[uint32]int{}, img}
	for i, name := range img.Users {
		id, err := number(name, func() (string, error) {
			found, err := osuser.Lookup(name)
			if err != nil {
				return "", err
			}
			return found.Uid, nil
		})
		if err != nil {
			return nil, fmt.Errorf("the policy names the user %q: %w", name, err)
		}
		if _, twice := u.uids[id]; twice {
			return nil, fmt.Errorf("the policy names user ID %d twice, by name and by number", id)
		}
		u.uids[id] = i
	}
	for i, name := range img.Groups {
		id, err := number(name, func() (string, error) {
			found, err := osuser.LookupGroup(name)
			if err != nil {
				return "", err
			}
			return found.Gid, nil
		})
		if err != nil {
			return nil, fmt.Errorf("the policy names the group %q: %w", name, err)
		}
		if _, twice := u.gids[id]; twice {
			return nil, fmt.Errorf("the policy names group ID %d twice, by name and by number", id)
		}
		u.gids[id] = i
	}
	return u, nil
}

// number is name, if it is one, or the answer of lookup.
func number(name string, lookup func() (string, error)) (uint32, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), nil
	}
	s, err := lookup()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err
}

// atoms are what the policy can know of c.
func (u *users) atoms(c *Credentials) Atoms {
	a := NoAtoms
	if i, ok := u.uids[c.UID]; ok {
		a.User = i
	}
	for _, gid := range append([]uint32{c.GID}, c.Groups...) {
		if i, ok := u.gids[gid]; ok && !slices.Contains(a.Groups, i) {
			a.Groups = append(a.Groups, i)
		}
	}
	slices.Sort(a.Groups)
	return a
}

// maxPeerGroups bounds the groups that a server is told of a user.
const maxPeerGroups = 256

func (u *users) peer(c *Credentials) abi.Peer {
	p := abi.Peer{Domain: abi.NoDomain, UID: c.UID, PID: c.PID, Groups: append([]uint32{c.GID}, c.Groups...)}
	p.Groups = p.Groups[:min(len(p.Groups), maxPeerGroups)]
	if i, ok := u.uids[c.UID]; ok {
		p.Name = u.img.Users[i]
	}
	return p
}

// connect is the decision on a gate.
func (m *Monitor) connect(route uint32, o *opening) image.Verdict {
	atoms := NoAtoms
	if o.user != nil {
		atoms = o.user.atoms
	} else if o.chained() != nil {
		atoms.Chain, _ = m.chainFor(m.Image, o, route)
	}
	return connectVerdict(m.Image, route, atoms)
}

// connectVerdict is the decision of an image on a gate, for a user with its
// atoms put in.
func connectVerdict(img *image.Image, route uint32, atoms Atoms) image.Verdict {
	r := &img.Routes[route]
	for _, l := range atoms.Chain.Levels {
		if v := img.Routes[l.Route].Connect; !v.Allow {
			return v
		}
	}
	d := &r.ConnectUser
	if r.Client != abi.NoDomain || len(d.Forbid)+len(d.Permit) == 0 {
		return r.Connect
	}
	return atoms.decide(d)
}

// decide is a decision that depends on the user only.
func (atoms Atoms) decide(d *image.Decision) image.Verdict {
	for _, rule := range d.Forbid {
		if atoms.holds(&rule.When) {
			return image.Verdict{Policy: rule.Policy}
		}
	}
	for _, rule := range d.Permit {
		if atoms.holds(&rule.When) {
			return image.Verdict{Allow: true, Policy: rule.Policy}
		}
	}
	return image.Verdict{Policy: abi.NoPolicy}
}

// holds evaluates a condition over the user only. The image checker lets
// nothing else be here; what is, holds nowhere.
func (a Atoms) holds(e *image.Expr) bool {
	switch e.Op {
	case image.True:
		return true
	case image.And:
		return !slices.ContainsFunc(e.Args, func(x image.Expr) bool { return !a.holds(&x) })
	case image.Or:
		return slices.ContainsFunc(e.Args, func(x image.Expr) bool { return a.holds(&x) })
	case image.Not:
		return !a.holds(&e.Args[0])
	case image.If:
		if a.holds(&e.Args[0]) {
			return a.holds(&e.Args[1])
		}
		return a.holds(&e.Args[2])
	case image.User:
		return a.User == int(e.Atom)
	case image.Group:
		return slices.Contains(a.Groups, int(e.Atom))
	}
	return false
}
