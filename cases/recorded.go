package cases

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"ward/abi"
	"ward/image"
	"ward/interfaces"
)

// cutMark ends a text of which an audit record has the beginning only.
const cutMark = "…"

// RecordedArgs writes the parameters of an audit record of a message as
// path=value, in order of their names, and lists those of which it has the
// beginning only. Of a message in the message a record says that it is there;
// the number of a handle, which no test can know, is left out.
func RecordedArgs(img *image.Image, set *interfaces.Set, method string, reply bool, params map[string]any) (args, cut []string) {
	w := &world{img: img, set: set}
	var root *image.Message
	if m, ok := w.methodNamed(method); ok {
		root, _ = w.message(m, reply)
	}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		f, in := w.img.FieldNamed(root, name)
		switch v := params[name].(type) {
		case string:
			if strings.HasSuffix(v, cutMark) {
				cut = append(cut, name)
				continue
			}
			args = append(args, name+"="+quote(v))
		case map[string]any: // {"size": 3} or {"count": 3}
			for _, what := range slices.Sorted(maps.Keys(v)) {
				args = append(args, fmt.Sprintf("%s.%s=%v", name, what, v[what]))
			}
		default:
			switch {
			case f != nil && f.Type == image.Nested:
				if !w.partOf(params, f, name) {
					args = append(args, name+"={}")
				}
			case f == nil || in.Name != image.HandleName || f.Number != image.HandleID:
				args = append(args, fmt.Sprintf("%s=%v", name, v))
			}
		}
	}
	return args, cut
}

// partOf reports whether a record has more of a message in the message than that
// it is there; the number of a handle is not more.
func (w *world) partOf(params map[string]any, f *image.Field, name string) bool {
	for key := range params {
		below, is := strings.CutPrefix(key, name+".")
		if is && (w.img.Messages[f.Message].Name != image.HandleName || below != "id") {
			return true
		}
	}
	return false
}

// absent are arguments for the parameters that the policies look at, but that
// were not in the message: the zero value, or null. A record that may not have
// room for all parameters says nothing of those it does not have.
func absent(img *image.Image, set *interfaces.Set, h *Happened, cut []string) []string {
	roads, findings := Roads(img, set, Question{From: h.From, To: h.To, Method: h.Method, Reply: h.Event == "reply"})
	if findings.Failed() || len(roads) != 1 || roads[0].Fixed != nil {
		return nil
	}
	paths := map[string][]uint32{}
	var visit func(e *image.Expr)
	visit = func(e *image.Expr) {
		for _, p := range [][]uint32{e.Path, e.Left.Path, e.Right.Path} {
			if len(p) > 0 {
				paths[fmt.Sprint(p)] = p
			}
		}
		for i := range e.Args {
			visit(&e.Args[i])
		}
	}
	for _, d := range roads[0].Question.Decisions {
		for _, rules := range [][]image.Rule{d.Forbid, d.Permit} {
			for i := range rules {
				visit(&rules[i].When)
			}
		}
	}
	m := roads[0].Question.Message
	if len(paths)+len(handleClaims(img, m, paths)) > abi.RecordParams {
		return nil
	}
	args := besideAbsent(img, paths, h.Params, cut)
	for _, key := range slices.Sorted(maps.Keys(paths)) {
		p := paths[key]
		f, name := img.FieldAt(m, p), img.PathName(m, p)
		if f == nil || image.IsMetadata(p) || slices.Contains(cut, name) || there(h.Params, name) || len(p) > 1 && !there(h.Params, img.PathName(m, p[:len(p)-1])) {
			continue
		}
		switch {
		case f.Card == image.Optional:
			args = append(args, name+"=null")
		case f.Card == image.Repeated:
			args = append(args, name+".count=0")
		case f.Type == image.Bytes:
			args = append(args, name+".size=0")
		case f.Type == image.String:
			args = append(args, name+`=""`)
		case f.Type == image.Bool:
			args = append(args, name+"=false")
		case f.Type != image.Nested && f.Type != image.Float && f.Type != image.Double:
			args = append(args, name+"=0")
		}
	}
	return args
}

// handleClaims are the fields of a handle that a record has, too, whether or not
// a policy looks at them: the filter does.
func handleClaims(img *image.Image, m *image.Message, paths map[string][]uint32) (more [][]uint32) {
	at := slices.IndexFunc(img.Messages, func(x image.Message) bool { return x.Name == m.Name })
	handle, ok := img.HandleOf(uint32(at))
	if !ok {
		return nil
	}
	for _, n := range []uint32{image.HandleID, image.HandleKind, image.HandleSize, image.HandleWrite} {
		if p := append(slices.Clip(handle), n); paths[fmt.Sprint(p)] == nil {
			more = append(more, p)
		}
	}
	return more
}

// there reports whether a record has a parameter, or some part of it.
func there(params map[string]any, name string) bool {
	for key := range params {
		if key == name || strings.HasPrefix(key, name+".") {
			return true
		}
	}
	return false
}
