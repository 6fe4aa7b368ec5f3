package lint

import (
	"strconv"
	"strings"
)

// LowPort is of a domain that is to bind a port itself that takes a privilege: domains have none.
const LowPort = "low-port"

// lowest is the first port that takes no privilege, unless the host has set another
// (net.ipv4.ip_unprivileged_port_start).
const lowest = 1024

// listening finds them. Children have no sockets, so templates do not count.
func (f *finder) listening() {
	for _, d := range f.System.System.Domains {
		if d.Template {
			continue
		}
		for _, l := range d.Listen {
			port, err := strconv.Atoi(l.Address.Value[strings.LastIndex(l.Address.Value, ":")+1:])
			if err != nil || port >= lowest || l.Bind.Value == "" {
				continue
			}
			f.out.Warnf(l.Address.Pos, "leave `bind` out, so that Ward binds it and hands it over (LISTEN_FDS), or choose a port from 1024 on",
				"%s is to bind port %d itself, and has no privilege for a port below %d", d.Name.Value, port, lowest)
			f.out.Tag(LowPort, d.Name.Value)
		}
	}
}
