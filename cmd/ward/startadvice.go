package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ward/image"
)

// startAdvice says, of the error with which the start of a domain ended, what in
// system.yaml it is about, where that stands, and what to do; "": nothing is known.
// Each line begins on a line of its own.
//
// It is asked after the start has failed, and not before: what a domain needs may be
// made by another one that is started first.
//
// Preconditions: path is what `ward up` was given, a system directory or an image.
func startAdvice(path string, img *image.Image, fatal string) string {
	rest, _ := strings.CutPrefix(fatal, "domain ")
	name, rest, _ := strings.Cut(rest, ": ")
	i := slices.IndexFunc(img.Domains, func(d image.Domain) bool { return d.Name == name })
	if i < 0 {
		return ""
	}
	d := &img.Domains[i]
	place := placesIn(path, name)
	var b strings.Builder
	say := func(what, format string, args ...any) {
		b.WriteString("\n\t" + place(what) + fmt.Sprintf(format, args...))
	}
	if d.Program != "" {
		if what := noProgram(d.Program); what != "" {
			say(d.Program, "%s", what)
		}
	}
	for _, f := range d.Files {
		if _, err := os.Stat(f.Path); f.Verdict.Allow && errors.Is(err, fs.ErrNotExist) {
			say(f.Path, "%s does not exist%s", f.Path, orElse(filepath.Base(f.Path), namesBeside(f.Path), "make it first, or take it out of `files`"))
		}
	}
	for _, l := range d.Listen {
		if l.Self || !strings.Contains(rest, "bind "+l.Name+": ") {
			continue
		}
		switch {
		case strings.HasSuffix(rest, "address already in use"):
			say(l.Address, "somebody has %s already: 'ss -lnp' says who; end that, or state another port", l.Address)
		case strings.HasSuffix(rest, "cannot assign requested address"):
			say(l.Address, "no interface of this host has the address of %s: state one that 'ip addr' shows, or *", l.Address)
		case strings.HasPrefix(l.Address, "unix:"):
			say(l.Address, "the directory of %s must exist", l.Address)
		}
	}
	return b.String()
}

// noProgram says why a file cannot be executed; "": it can.
func noProgram(path string) string {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return path + " does not exist" + orElse(filepath.Base(path), namesBeside(path), "install it, or name the program's path")
	case err != nil:
		return ""
	case !info.Mode().IsRegular():
		return path + " is no file that could be executed"
	case info.Mode()&0o111 == 0:
		return path + " is not executable: name the program's path, or make it executable (chmod +x)"
	}
	return ""
}

// namesBeside lists the names in the directory of a path.
func namesBeside(path string) (names []string) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// placesIn says where in the system.yaml of a directory a text stands, as
// "FILE:LINE:COLUMN: ": the first time from the domain's own line on. It says
// "domain NAME: " where it does not stand as it is (quoted otherwise), or nobody can look.
func placesIn(dir, domain string) func(text string) string {
	file := filepath.Join(dir, "system.yaml")
	text, _ := os.ReadFile(file) // an error: no place is known
	lines := strings.Split(string(text), "\n")
	begin := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(strings.TrimSpace(l), domain+":") })
	return func(text string) string {
		for i := max(begin, 0); i < len(lines); i++ {
			line, _, _ := strings.Cut(lines[i], "#")
			if at := strings.Index(line, text); begin >= 0 && at >= 0 {
				return fmt.Sprintf("%s:%d:%d: ", file, i+1, at+1)
			}
		}
		return "domain " + domain + ": "
	}
}
