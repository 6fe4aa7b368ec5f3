package difftest

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"

	"ward/image"
)

// Metadata: what the systems declare, conditions on it, sections with it, and
// what Go and Cedar make of them.

// A besideKey is a declared key; the trace context is declared by itself.
type besideKey struct {
	name string
	size int
}

var besideKeys = []besideKey{{"traceparent", 55}, {"tracestate", 512}, {"x-trace", 64}, {"ticket", 20}, {"proof-bin", 16}}

// metadataLine declares the keys that are not Ward's own.
func metadataLine() string {
	var parts []string
	for _, k := range besideKeys[2:] {
		parts = append(parts, fmt.Sprintf("%s: %d", k.name, k.size))
	}
	return "metadata: {" + strings.Join(parts, ", ") + "}"
}

func binaryKey(name string) bool { return strings.HasSuffix(name, "-bin") }

// aboutMetadata writes a test of a key, guarded. The metadata of a client's
// stream cannot be asked: where the scope may have such a method, the action is.
func (a *author) aboutMetadata(t act) string {
	k := pick(a.r, besideKeys...)
	const on = "context.ward.metadata"
	path, guard := fmt.Sprintf("%s[%q]", on, k.name), fmt.Sprintf("%s has %q", on, k.name)
	if !strings.Contains(k.name, "-") && a.chance(2) {
		path, guard = on+"."+k.name, on+" has "+k.name
	}
	test := path + ".size" + a.order() + pick(a.r, "0", "1", "3", "16")
	if !binaryKey(k.name) {
		test = a.test(nil, &image.Field{Type: image.String}, path)
	}
	s := "(" + guard + " && " + test + ")"
	switch a.r.IntN(5) {
	case 0:
		s = guard
	case 1:
		s = "(if " + guard + " then " + test + " else " + pick(a.r, "true", "false") + ")"
	}
	if a.chance(2) {
		s = "(action == " + t.action + " && " + s + ")"
	}
	return s
}

// metadata is the message of a metadata section on a route: a key that some
// condition looks at is a string, but for those of bytes.
func metadata(img *image.Image, r *image.Route) *image.Message {
	m := &image.Message{}
	asked := askedKeys(r)
	for i, k := range img.Metadata {
		f := image.Field{Number: uint32(i + 1), Type: image.Bytes, Card: image.Optional, MaxLen: k.Max}
		if slices.Contains(asked, f.Number) && !binaryKey(k.Key) {
			f.Type = image.String
		}
		m.Fields = append(m.Fields, f)
	}
	return m
}

// askedKeys are the numbers of the keys that the conditions of a route look at.
func askedKeys(r *image.Route) (keys []uint32) {
	var look func(e *image.Expr)
	look = func(e *image.Expr) {
		for _, p := range [][]uint32{e.Path, e.Left.Path, e.Right.Path} {
			if len(p) == 2 && p[0] == 0 {
				keys = append(keys, p[1])
			}
		}
		for i := range e.Args {
			look(&e.Args[i])
		}
	}
	for i := range r.Methods {
		for _, rules := range [][]image.Rule{r.Methods[i].Request.Forbid, r.Methods[i].Request.Permit, r.Methods[i].Reply.Forbid, r.Methods[i].Reply.Permit} {
			for j := range rules {
				look(&rules[j].When)
			}
		}
	}
	return keys
}

// besideOf reads a section that was accepted: values by index of the key.
func besideOf(section []byte) map[uint32]string {
	values := map[uint32]string{}
	for len(section) > 0 {
		tag, n := binary.Uvarint(section)
		size, k := binary.Uvarint(section[n:])
		section = section[n+k:]
		values[uint32(tag>>3)-1], section = string(section[:size]), section[size:]
	}
	return values
}

// besideRecord is the metadata of a message as Cedar has it.
func besideRecord(values map[uint32]string) types.Value {
	r := types.RecordMap{}
	for i, v := range values {
		k := besideKeys[i].name
		r[types.String(k)] = types.String(v)
		if binaryKey(k) {
			r[types.String(k)] = types.NewRecord(types.RecordMap{"size": types.Long(len(v))})
		}
	}
	return types.NewRecord(r)
}

// section is a metadata section: none, but often where conditions look at some.
// Values are those of the conditions and what is near them, too long by one, not
// UTF-8, or there twice.
func (l *lane) section() []byte {
	asked := askedKeys(l.route())
	often := 12
	if len(asked) > 0 {
		often = 2
	}
	if len(l.b.img.Metadata) == 0 || l.r.IntN(often) > 0 {
		return nil
	}
	var b []byte
	for i, k := range l.b.img.Metadata {
		number := uint32(i + 1)
		times := pick(l.r, 0, 0, 1)
		if slices.Contains(asked, number) {
			times = pick(l.r, 0, 1, 1, 1, 1, 1)
		}
		if l.r.IntN(60) == 0 {
			times = 2
		}
		for range times {
			v := l.besideValue(k.Max)
			b = binary.AppendUvarint(append(b, byte(number)<<3|2), uint64(len(v)))
			b = append(b, v...)
		}
	}
	if l.r.IntN(8) == 0 {
		b = (&sampler{r: l.r}).mutate(b)
	}
	if b == nil {
		b = []byte{}
	}
	return b
}

func (l *lane) besideValue(limit uint32) string {
	v := pick(l.r, words...)
	switch l.r.IntN(24) {
	case 0:
		v += pick(l.r, "\xff", "\xc3", "\xe2\x98", "\xed\xa0\x80")
	case 1:
		v = strings.Repeat("t", int(limit)+1)
	case 2:
		v = strings.Repeat("t", int(limit))
	case 3:
		v += pick(l.r, "a", "x", "\x00", "é")
	}
	if len(v) > int(limit) && l.r.IntN(8) > 0 {
		v = strings.ToValidUTF8(v[:limit], "")
	}
	return v
}
