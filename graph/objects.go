package graph

import (
	"fmt"

	"ward/image"
)

// declared adds the edges of an object of system.yaml: one for each right. An
// object that nobody may use is not drawn.
func (b *builder) declared(o *image.Object) {
	node := mailbox(o.Name)
	switch o.Kind {
	case image.ObjectSecret:
		node = Object{"memory", o.Name, fmt.Sprintf("secret memory, %s × %d", bytes(o.Size), o.Count)}
	case image.ObjectMemory:
		node = Object{"memory", o.Name, fmt.Sprintf("memory, %s × %d", bytes(o.Size), o.Count)}
		if o.Shared {
			node.Note = "shared memory, " + bytes(o.Size)
		}
	}
	for i := range b.img.Domains {
		d := &b.img.Domains[i]
		if !b.drawn(d) {
			continue
		}
		use := func(access string, v image.Verdict) {
			if v.Allow {
				b.g.Uses = append(b.g.Uses, Use{d.Name, b.add(node), access, b.policy(v.Policy)})
			}
		}
		use("create", o.Create[i])
		use("read", o.Read[i])
		if o.Read[i].Allow { // writing needs both
			use("write", o.Write[i])
		}
	}
}

// mailbox is the node of a mailbox.
func mailbox(name string) Object { return Object{"mailbox", name, "mailbox"} }

// bytes writes a size as system.yaml does.
func bytes(n uint64) string {
	units := []string{"", "KiB", "MiB", "GiB"}
	i := 0
	for ; i < len(units)-1 && n >= 1024 && n%1024 == 0; i++ {
		n /= 1024
	}
	if i == 0 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%d%s", n, units[i])
}
