package cases

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"ward/diag"
	"ward/image"
	"ward/policy/prove"
)

// Arguments are in the form of Cedar's context, so metadata stands where it does
// there: {ward: {metadata: {x-tenant: lab}}}.

// ward reads the part of arguments that is not of the message.
func (a *arguments) ward(v value) bool {
	g, ok := a.object(v, "metadata")
	if !ok {
		return false
	}
	e, ok := g["metadata"]
	if !ok {
		return true
	}
	if a.opened {
		a.out.Errorf(e.pos, "leave it out", "%s: that of a client's stream comes with the call that opens it, on which no policy decides", e.what)
		return false
	}
	keys := a.img.Beside()
	good := true
	return a.mapping(e, func(key string, e value) {
		i := slices.IndexFunc(keys.Fields, func(f image.Field) bool { return f.Name == key })
		if i >= 0 {
			good = a.field(e, &keys.Fields[i], nil, image.MetadataPath(i)) && good
			return
		}
		if a.misfits {
			a.misfit = true
			return
		}
		a.out.Errorf(e.pos, diag.Suggest(key, keyNames(a.img)), "the system declares no metadata key %q", short(key))
		good = false
	}) && good
}

// opened reports whether a method's messages one way are items of a client's stream.
func (w *world) opened(m method, reply bool) bool {
	return !reply && w.img.Interfaces[m.iface].Methods[m.ordinal].ClientStream
}

// besideText writes what an example has for metadata, "" for nothing.
func besideText(img *image.Image, values []prove.Value) string {
	var parts []string
	for i := range img.Metadata {
		var of []prove.Value
		for _, v := range values {
			if slices.Equal(v.Path, image.MetadataPath(i)) {
				of = append(of, v)
			}
		}
		if len(of) > 0 {
			parts = append(parts, img.Metadata[i].Key+": "+besideOne(of))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "ward: {metadata: {" + strings.Join(parts, ", ") + "}}"
}

// besideOne writes what is known of one key.
func besideOne(values []prove.Value) string {
	for _, v := range values {
		switch {
		case !v.Present:
			return "null"
		case v.What == image.Size:
			return fmt.Sprintf("{size: %d}", v.Long)
		case v.IsText:
			return strconv.Quote(v.Text)
		}
	}
	return "…" // there, with any value
}

// besidePath takes the path of a compact argument about metadata apart. Keys may
// have dots in them.
func besidePath(img *image.Image, path string) ([]string, bool) {
	key, ok := strings.CutPrefix(path, image.MetadataName+".")
	if !ok {
		return nil, false
	}
	parts := []string{"ward", "metadata", key}
	if name, size := strings.CutSuffix(key, ".size"); size && !slices.Contains(keyNames(img), key) {
		parts = []string{"ward", "metadata", name, "size"}
	}
	return parts, true
}

// besideLiteral writes the value of a path that besidePath took apart.
func besideLiteral(path []string, value string) string {
	_, err := strconv.ParseUint(value, 10, 64)
	if value == "null" || len(path) > 3 && err == nil {
		return value
	}
	if _, err := strconv.Unquote(value); err == nil && strings.HasPrefix(value, `"`) {
		return value
	}
	return quote(value)
}

// besideAbsent are arguments for the keys among paths of which a record says
// nothing: they were not there.
func besideAbsent(img *image.Image, paths map[string][]uint32, params map[string]any, cut []string) (args []string) {
	for i := range img.Metadata {
		p := image.MetadataPath(i)
		name := img.PathName(nil, p)
		if _, there := params[name]; there || slices.Contains(cut, name) || paths[fmt.Sprint(p)] == nil {
			continue
		}
		args = append(args, name+"=null")
	}
	return args
}

func keyNames(img *image.Image) []string {
	var names []string
	for _, k := range img.Metadata {
		names = append(names, k.Key)
	}
	return names
}
