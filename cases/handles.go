package cases

import (
	"fmt"
	"slices"

	"ward/abi"
	"ward/image"
	"ward/policy/prove"
)

// Memory that is not shared goes from domain to domain with handles in
// messages. Who may come to hold what a domain made is found from the maker
// on: whoever has it may hand it on, with no more rights than it has, to whoever
// may open the object, with a message that may pass with such a handle.

// An instance stands for all that one domain may make of one object.
type instance struct {
	object  *image.Object
	maker   abi.DomainID
	holders []holder // the maker first
}

// A holder is a domain that may come to have an instance.
type holder struct {
	domain abi.DomainID
	write  bool
	over   string // the message that brings it; "" for the maker
}

// A carrier is a method of which the messages one way may have a handle.
type carrier struct {
	sender, receiver abi.DomainID
	query            *channel
	path             []uint32 // of the handle in the message
	over             string
}

// instances finds who may come to hold what, once.
func (w *world) instances() []*instance {
	if w.held != nil {
		return *w.held
	}
	all := []*instance{}
	var carriers []*carrier
	for i := range w.img.Objects {
		o := &w.img.Objects[i]
		if o.Kind != image.ObjectMemory || o.Shared {
			continue
		}
		if carriers == nil {
			carriers = w.carriers()
		}
		passes := map[passing]bool{}
		for d := range w.img.Domains {
			if maker := abi.DomainID(d); may(o, "create", maker) {
				all = append(all, w.spread(o, maker, carriers, passes))
			}
		}
	}
	w.held = &all
	return all
}

// passing is a question that was answered: whether a carrier's messages may
// pass with a handle of an object.
type passing struct {
	by    *carrier
	write bool
}

// spread finds the holders of what a domain makes.
func (w *world) spread(o *image.Object, maker abi.DomainID, carriers []*carrier, passes map[passing]bool) *instance {
	in := &instance{object: o, maker: maker, holders: []holder{{domain: maker, write: true}}}
	type visit struct {
		domain abi.DomainID
		write  bool
	}
	for todo := []visit{{maker, true}}; len(todo) > 0; todo = todo[1:] {
		v := todo[0]
		for _, c := range carriers {
			if c.sender != v.domain || !may(o, "read", c.receiver) {
				continue
			}
			for _, write := range []bool{true, false} {
				if write && (!v.write || !may(o, "write", c.receiver)) || in.has(c.receiver, write) {
					continue
				}
				key := passing{c, write}
				ok, asked := passes[key]
				if !asked {
					ok = w.carries(c, o, write)
					passes[key] = ok
				}
				if ok {
					in.give(c.receiver, write, c.over)
					todo = append(todo, visit{c.receiver, write})
				}
			}
		}
	}
	return in
}

// has reports whether a domain is known to hold an instance with a right.
func (in *instance) has(d abi.DomainID, write bool) bool {
	h := in.holder(d)
	return h != nil && (h.write || !write)
}

func (in *instance) holder(d abi.DomainID) *holder {
	for i := range in.holders {
		if in.holders[i].domain == d {
			return &in.holders[i]
		}
	}
	return nil
}

func (in *instance) give(d abi.DomainID, write bool, over string) {
	if h := in.holder(d); h != nil {
		h.write, h.over = write || h.write, over
		return
	}
	in.holders = append(in.holders, holder{d, write, over})
}

// carriers are all ways for handles: between domains, for users and mailboxes
// have no rights to objects.
func (w *world) carriers() []*carrier {
	all := []*carrier{}
	for i := range w.img.Routes {
		r := &w.img.Routes[i]
		server := &w.img.Domains[r.Server]
		if r.Client == abi.NoDomain || server.Names || server.Mailbox {
			continue
		}
		for m := range r.Methods {
			if len(r.Methods[m].Request.Permit) == 0 {
				continue
			}
			target := method{r.Interface, uint32(m)}
			for _, reply := range []bool{false, true} {
				path, ok := w.handleIn(target, reply)
				if !ok {
					continue
				}
				query := w.channel(subject{domain: r.Client}, subject{domain: r.Server}, target, reply).unsaw()
				for _, client := range append(w.borrowers(r.Client, target), r.Client) {
					c := &carrier{sender: client, receiver: r.Server, path: path, over: w.methodName(target), query: query}
					if client != r.Client {
						c.over += ", lent by " + w.img.Domains[r.Client].Name
					}
					if reply {
						c.sender, c.receiver, c.over = r.Server, client, "reply to "+c.over
					}
					if c.sender != c.receiver {
						all = append(all, c)
					}
				}
			}
		}
	}
	return all
}

// handleIn is the path of the handle in the messages of a method, one way.
func (w *world) handleIn(m method, reply bool) ([]uint32, bool) {
	i := &w.img.Interfaces[m.iface].Methods[m.ordinal]
	if reply {
		return w.img.HandleOf(i.Reply)
	}
	return w.img.HandleOf(i.Request)
}

// carries reports whether some message of a carrier may pass with a handle of
// an object. What cannot be told counts as may.
func (w *world) carries(c *carrier, o *image.Object, write bool) bool {
	if c.query.fixed != nil {
		return c.query.fixed.Allow
	}
	q := c.query.query
	q.Given = withHandle(w.img, q.Message, c.path, o.Size, write)
	_, answer := prove.Ask(&q)
	return answer != prove.Never
}

// withHandle says of a message that it has a handle of memory of at most size
// bytes, to be written or not.
func withHandle(img *image.Image, m *image.Message, path []uint32, size uint64, write bool) []image.Expr {
	var given []image.Expr
	for i, number := range path {
		f := &m.Fields[slices.IndexFunc(m.Fields, func(f image.Field) bool { return f.Number == number })]
		if f.Card == image.Optional {
			given = append(given, image.Expr{Op: image.Has, Path: path[:i+1]})
		}
		m = &img.Messages[f.Message]
	}
	says := func(op image.Op, field uint32, n int64) image.Expr {
		return image.Expr{Op: op, Left: image.Operand{What: image.Scalar, Path: append(slices.Clip(path), field)}, Right: image.Operand{Value: image.Value{Long: n}}}
	}
	may := int64(0)
	if write {
		may = 1
	}
	return append(given, says(image.Eq, image.HandleKind, int64(abi.HandleMemory)), says(image.Eq, image.HandleWrite, may), says(image.LessEq, image.HandleSize, int64(size)))
}

// handed are the ways that memory in handles makes from one domain to others: it
// may write what they may read.
func (w *world) handed(from abi.DomainID) []hop {
	var res []hop
	for _, in := range w.instances() {
		writer := in.holder(from)
		if writer == nil || !writer.write {
			continue
		}
		for _, h := range in.holders {
			if h.domain != from {
				res = append(res, hop{subject{domain: h.domain}, w.memoryOf(in, *writer, h)})
			}
		}
	}
	return res
}

// memoryOf says how two domains come to have the same memory.
func (w *world) memoryOf(in *instance, writer, reader holder) string {
	text := in.object.Name + " of " + w.img.Domains[in.maker].Name
	for _, h := range []holder{writer, reader} {
		if h.over != "" {
			word := "to read"
			if h.domain == writer.domain {
				word = "to write"
			}
			text += fmt.Sprintf(", to %s %s by %s", w.img.Domains[h.domain].Name, word, h.over)
		}
	}
	return text
}
