package graph

import (
	"fmt"
	"strings"
	"unicode"
)

// printable replaces what has no place in one line of a label: control
// characters, line breaks of any kind, directional marks, and what is not UTF-8.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// dotLabel writes lines as a quoted string of the DOT language, aligned to the
// left. In labels a backslash begins an escape and & an HTML entity, also
// without HTML labels (graphviz.org, "escString" and "Character encodings").
func dotLabel(lines ...string) string {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "&", "&amp;")
	var b strings.Builder
	b.WriteByte('"')
	for _, line := range lines {
		b.WriteString(escape.Replace(printable(line)))
		if len(lines) > 1 {
			b.WriteString(`\l`)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// mermaidLabel writes lines as a quoted label of a Mermaid flowchart. Letters,
// digits and a few signs stay; the rest become entity codes (#34;), which
// Mermaid decodes after parsing, so that no quote, bracket, directive, HTML or
// Markdown gets through (mermaid.js.org, "Entity codes to escape characters").
func mermaidLabel(lines ...string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i, line := range lines {
		if i > 0 {
			b.WriteString("<br/>")
		}
		b.WriteString(mermaidLine(printable(line)))
	}
	b.WriteByte('"')
	return b.String()
}

func mermaidLine(s string) string {
	var b strings.Builder
	list := true // only digits so far: "1." would begin a Markdown list
	for i, r := range s {
		switch {
		case unicode.IsLetter(r) || unicode.IsDigit(r), r == ' ' && i > 0, r == '/', r == ',', r == unicode.ReplacementChar,
			(r == ':' || r == '@' || r == '-') && i > 0, r == '.' && i > 0 && !list:
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, "#%d;", r)
		}
		list = list && unicode.IsDigit(r)
	}
	return b.String()
}
