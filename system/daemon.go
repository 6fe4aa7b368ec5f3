package system

import "strings"

// Keys of domains that are daemons: sockets, addresses, and how they live.

const (
	connectPattern = `^(tcp|udp):([0-9.]+(/[0-9]{1,2})?|\*|\[[0-9A-Fa-f:.]+(/[0-9]{1,3})?\]):([0-9]{1,5}|\*)$`
	connectHint    = `"tcp:HOST:PORT" or "udp:HOST:PORT"; HOST is *, an IPv4 address or prefix (10.0.0.0/8), or an IPv6 one in brackets ([fd00::/8]); PORT a number or *`
	listenPattern  = `^((tcp|udp):([0-9.]+|\*|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}|unix:/[^\x00-\x1f\x7f]+)$`
	listenHint     = `"tcp:ADDRESS:PORT", "udp:ADDRESS:PORT" or "unix:/PATH"; ADDRESS is *, an IPv4 address, or an IPv6 address in brackets`

	maxGrace = 3600 // seconds
)

var addressShape = str("Address.", listenPattern, listenHint)

var listenShape = anyOf("Where to listen.",
	addressShape,
	objectOf("Where to listen, and who binds the socket.",
		key{"address", true, addressShape},
		key{"bind", false, oneOf("`domain`: the program binds the socket itself, at this address and no other; for programs that take no sockets. Only TCP and UDP, and only for domains without gates.", "domain")}))

var (
	restartShape = oneOf("When the domain is started again after it ended: `never`, `on-failure` (with another status than 0), `always`. It waits longer each time, up to 30 s.", RestartNever, RestartOnFailure, RestartAlways)
	graceShape   = number("Seconds between SIGTERM and SIGKILL when the domain is stopped; without it, 2.", 1, maxGrace)
	notifyShape  = yesNo("The program says by sd_notify(3) that it is ready: what needs it is started then.")
)

// Values of Domain.Restart.
const (
	RestartNever     = "never"
	RestartOnFailure = "on-failure"
	RestartAlways    = "always"
)

// daemon reads the keys of how a domain lives.
func (b *builder) daemon(d *Domain, v *value) {
	d.Restart = v.string("restart")
	d.Grace = v.number("grace")
	if n := v.get("notify"); n != nil {
		d.Notify = n.yes
	}
	if d.Once && d.Restart.Value == RestartAlways {
		b.out.Errorf(d.Restart.Pos, "write on-failure, or leave `once` out", "domain %q runs to its end and is always started again", d.Name.Value)
	}
}

func (b *builder) listen(d *Domain, v *value) {
	if v == nil {
		return
	}
	seen := map[string]bool{}
	for _, p := range v.pairs {
		l := Listen{Name: p.key, Address: String{p.value.text, p.value.pos}}
		if p.value.shape.kind == object {
			l.Address, l.Bind = p.value.string("address"), p.value.string("bind")
			if l.Address.Value == "" { // a finding already
				continue
			}
		}
		a := l.Address
		if seen[a.Value] {
			b.out.Errorf(a.Pos, "", "domain %q listens twice on %q", d.Name.Value, short(a.Value))
		}
		seen[a.Value] = true
		file, inode := strings.CutPrefix(a.Value, "unix:")
		switch {
		case inode && l.Bind.Value != "":
			b.out.Errorf(l.Bind.Pos, "leave `bind` out", "the socket %q: only TCP and UDP sockets can be bound by a domain itself", short(a.Value))
		case inode:
			b.socket(String{file, a.Pos})
		default:
			b.port(a)
		}
		d.Listen = append(d.Listen, l)
	}
}
