package monitor

import "ward/image"

// firstGate names the calls or exports that a running domain with sockets gets
// though it had none: having no gates, it was given system calls that a domain
// with gates must not have (docs/decisions/0061-sendmsg-without-gates.md).
func firstGate(before, after *image.Image, id int) []string {
	d := &before.Domains[id]
	if len(d.Listen)+len(d.Connect) == 0 && !d.Notify || before.HasGates(id) || !after.HasGates(id) {
		return nil
	}
	return []string{"its first calls or exports"}
}
