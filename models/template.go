package models

import (
	"embed"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

//go:embed *.cedar
var pages embed.FS

// A Source is a file of policies as policy.Source. Its name is that of the
// page; its lines are those of the page, so that places found in it can be
// looked up there.
type Source struct{ Name, Text string }

// A template is one policy of a page.
type template struct {
	title string // of its @id, after the model's name
	line  int    // from 0
	text  string
	slots []string
}

// A page is a model: what stands in its file.
type page struct {
	model     string
	templates []template
}

var (
	slot    = regexp.MustCompile(`\?[a-z][a-z0-9]*`)
	idLine  = regexp.MustCompile(`^@id\("(ward/[a-z0-9-]+): ([^"]+)"\)$`)
	comment = regexp.MustCompile(`(?m)^\s*//.*$`)
)

// Page is the text of a model's page; "" for a name that is no model.
func Page(model string) string {
	text, err := pages.ReadFile(strings.TrimPrefix(model, "ward/") + ".cedar")
	if err != nil {
		return ""
	}
	return string(text)
}

// load reads the page of a model.
func load(model string) *page {
	p := &page{model: model}
	var open *template
	for i, line := range strings.Split(Page(model), "\n") {
		if m := idLine.FindStringSubmatch(line); m != nil {
			open = &template{title: m[2], line: i}
		}
		if open == nil {
			continue
		}
		open.text += line + "\n"
		if code, _, _ := strings.Cut(line, "//"); strings.HasSuffix(strings.TrimSpace(code), ";") {
			found := slot.FindAllString(comment.ReplaceAllString(open.text, ""), -1)
			slices.Sort(found)
			open.slots = slices.Compact(found)
			p.templates = append(p.templates, *open)
			open = nil
		}
	}
	return p
}

// binding says what stands in the slots of a template, by name without "?".
type binding map[string]string

// link makes the policy of a template. who tells it from others of the same
// template; "" if there is only one.
//
// Preconditions: the page has the template, and b binds its slots.
func (p *page) link(title, who string, b binding) Source {
	i := slices.IndexFunc(p.templates, func(t template) bool { return t.title == title })
	if i < 0 {
		panic(fmt.Sprintf("%s has no policy %q", p.model, title))
	}
	t := p.templates[i]
	text := slot.ReplaceAllStringFunc(t.text, func(s string) string {
		v, ok := b[s[1:]]
		if !ok {
			panic(fmt.Sprintf("%s: %q needs %s; there is %v", p.model, title, s, slices.Sorted(maps.Keys(b))))
		}
		return v
	})
	if who != "" {
		text = strings.Replace(text, p.model+": "+title, shortID(p.model, who, title), 1)
	}
	return Source{p.model + ".cedar", strings.Repeat("\n", t.line) + text}
}

// maxID is the longest @id, in bytes (policy).
const maxID = 255

// shortID is the ID of a linked policy. Names too long for one are cut in the
// middle, where a count of the bytes left out keeps most of them apart.
func shortID(model, who, title string) string {
	if room := maxID - len(model) - len(title) - 4; len(who) > room {
		const mark = 12
		half := (room - mark) / 2
		who = fmt.Sprintf("%s…%d…%s", strings.ToValidUTF8(who[:half], ""), len(who), strings.ToValidUTF8(who[len(who)-half:], ""))
	}
	quoted := cedarString(who)
	return model + ": " + quoted[1:len(quoted)-1] + ": " + title
}
