package compare

import (
	"slices"
	"strings"

	"ward/image"
)

// into is the part of an example below a name, which may have dots in it:
// Cedar's context nests what they divide.
func into(args map[string]any, name string) map[string]any {
	for part := range strings.SplitSeq(name, ".") {
		inner, ok := args[part].(map[string]any)
		if !ok {
			inner = map[string]any{}
			args[part] = inner
		}
		args = inner
	}
	return args
}

// sameKeys gives metadata keys the same numbers on both sides, so that a path
// means the same key. A key that one side does not declare is absent there.
func (c *comparer) sameKeys() {
	keys := slices.Clone(c.old.Metadata)
	c.keys = map[string]bool{}
	for _, k := range c.new.Metadata {
		if c.keys[k.Key] = slices.ContainsFunc(keys, func(o image.Metadata) bool { return o.Key == k.Key }); !c.keys[k.Key] {
			keys = append(keys, k)
		}
	}
	c.old, c.new = withKeys(c.old, keys), withKeys(c.new, keys)
}

func withKeys(x *index, keys []image.Metadata) *index {
	same := func(a, b image.Metadata) bool { return a.Key == b.Key }
	if slices.EqualFunc(x.Metadata, keys, same) {
		return x
	}
	img := *x.Image
	img.Metadata = slices.Clone(keys)
	number := map[uint32]uint32{}
	for i, k := range x.Metadata {
		at := slices.IndexFunc(keys, func(o image.Metadata) bool { return same(o, k) })
		img.Metadata[at].Max = k.Max
		number[uint32(i)+1] = uint32(at) + 1
	}
	path := func(p []uint32) []uint32 {
		if image.IsMetadata(p) {
			return []uint32{image.MetadataField, number[p[1]]}
		}
		return p
	}
	var expr func(e image.Expr) image.Expr
	expr = func(e image.Expr) image.Expr {
		args := make([]image.Expr, len(e.Args))
		for i := range e.Args {
			args[i] = expr(e.Args[i])
		}
		e.Args, e.Path, e.Left.Path, e.Right.Path = args, path(e.Path), path(e.Left.Path), path(e.Right.Path)
		return e
	}
	rules := func(list []image.Rule) []image.Rule {
		list = slices.Clone(list)
		for i := range list {
			list[i].When = expr(list[i].When)
		}
		return list
	}
	img.Routes = slices.Clone(img.Routes)
	for i := range img.Routes {
		r := &img.Routes[i]
		r.Methods = slices.Clone(r.Methods)
		for m := range r.Methods {
			for _, d := range []*image.Decision{&r.Methods[m].Request, &r.Methods[m].Reply} {
				d.Forbid, d.Permit = rules(d.Forbid), rules(d.Permit)
			}
		}
	}
	return newIndex(&img)
}
