package compile

import (
	"strconv"
	"strings"

	"ward/diag"
	"ward/image"
	"ward/system"
)

// Privileged lists, each at its place, what keeps the system from being started
// by an ordinary user (image.Unprivileged).
func (r *Result) Privileged() diag.List {
	var list diag.List
	for _, o := range r.Image.Unprivileged() {
		text := o.Text
		if o.Domain != "" {
			text = "domain " + o.Domain + ": " + text
		}
		list.Errorf(r.placeOf(&o), "start the system as root, or take this out", "%s", text)
	}
	list.Sort()
	return list
}

// placeOf is where an obstacle is written.
func (r *Result) placeOf(o *image.Obstacle) diag.Pos {
	if o.Source != "" {
		pos := diag.Pos{File: o.Source}
		if i := strings.LastIndexByte(o.Source, ':'); i >= 0 {
			if line, err := strconv.Atoi(o.Source[i+1:]); err == nil {
				pos = diag.Pos{File: o.Source[:i], Line: line, Column: 1}
			}
		}
		return pos
	}
	if o.Key == "require" && o.Index < len(r.System.Require) {
		return r.System.Require[o.Index].Pos
	}
	if o.Key == "objects" && o.Index < len(r.System.Objects) {
		return r.System.Objects[o.Index].Name.Pos
	}
	for _, d := range r.System.Domains {
		if d.Name.Value == o.Domain {
			return placeIn(d, o)
		}
	}
	return diag.Pos{File: system.FileName, Line: 1, Column: 1}
}

func placeIn(d *system.Domain, o *image.Obstacle) diag.Pos {
	switch {
	case o.Key == "files" && o.Index < len(d.Files):
		return d.Files[o.Index].Path.Pos
	case o.Key == "listen" && o.Index < len(d.Listen):
		return d.Listen[o.Index].Address.Pos
	case o.Key == "connect" && o.Index < len(d.Connect):
		return d.Connect[o.Index].Pos
	}
	return d.Pos
}
