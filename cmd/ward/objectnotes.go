package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"ward/abi"
	"ward/compile"
	"ward/diag"
	"ward/image"
)

// An objectNote is a declared object, and who has which right to it.
type objectNote struct {
	Object string   `json:"object"`
	What   string   `json:"what"`
	Rights []string `json:"rights,omitempty"` // in words
	Pos    diag.Pos `json:"pos"`
}

// objectNotes says what the policies make of the objects of system.yaml.
func objectNotes(c *compiled, r *compile.Result) {
	for i := range r.Image.Objects {
		o := &r.Image.Objects[i]
		n := objectNote{Object: o.Name, What: objectWords(r.Image, o), Rights: rightsTo(r.Image, o)}
		if i < len(r.System.Objects) {
			n.Pos = r.System.Objects[i].Name.Pos
		}
		c.Objects = append(c.Objects, n)
	}
}

// objectWords says what an object is.
func objectWords(img *image.Image, o *image.Object) string {
	switch {
	case o.Kind == image.ObjectMailbox:
		return "a mailbox for " + img.Interfaces[img.Domains[o.Domain].Exports[0].Interface].Name
	case o.Kind == image.ObjectSecret:
		return fmt.Sprintf("secret memory, at most %d of %s each, of whoever makes it alone", o.Count, sized(o.Size))
	case o.Shared:
		return fmt.Sprintf("shared memory, %s", sized(o.Size))
	}
	return fmt.Sprintf("memory, at most %d of %s each", o.Count, sized(o.Size))
}

// rightsTo lists who may do what with an object, and whom a forbid keeps from it.
func rightsTo(img *image.Image, o *image.Object) []string {
	var all []string
	for _, l := range []struct {
		verb     string
		verdicts []image.Verdict
	}{{"make", o.Create}, {"read", o.Read}, {"write", o.Write}} {
		for d, v := range l.verdicts {
			if v.Policy == abi.NoPolicy {
				continue
			}
			may := "may"
			if !v.Allow {
				may = "may not"
			}
			all = append(all, fmt.Sprintf("%s %s %s it: %q", img.Domains[d].Name, may, l.verb, img.Policies[v.Policy].ID))
		}
	}
	if o.Kind != image.ObjectMailbox {
		return all
	}
	for i := range img.Routes {
		r := &img.Routes[i]
		if r.Server != o.Domain {
			continue
		}
		var names []string
		for m := range r.Methods {
			if len(r.Methods[m].Request.Permit) > 0 {
				names = append(names, img.Interfaces[r.Interface].Methods[m].Name)
			}
		}
		if len(names) > 0 {
			all = append(all, fmt.Sprintf("%s may write to it: %s", img.Domains[r.Client].Name, strings.Join(names, ", ")))
		}
	}
	return all
}

// printObjects writes the objects of a directory, each with its place.
func printObjects(out io.Writer, dir string, objects []objectNote) {
	for _, o := range objects {
		o.Pos.File = filepath.Join(dir, o.Pos.File)
		fmt.Fprintf(out, "%s: object %s: %s\n", o.Pos, o.Object, o.What)
		for _, r := range o.Rights {
			fmt.Fprintln(out, "\t"+r)
		}
	}
}

// ownDomains is how many domains an image has, mailboxes not counted.
func ownDomains(img *image.Image) int {
	n := 0
	for i := range img.Domains {
		if !img.Domains[i].Mailbox {
			n++
		}
	}
	return n
}
