package interfaces

import (
	"fmt"
	"io/fs"
	"strings"
	"unicode/utf8"

	"github.com/bufbuild/protocompile/ast"
	"github.com/bufbuild/protocompile/parser"
	"github.com/bufbuild/protocompile/reporter"

	"ward/diag"
	"ward/system"
)

// Bounds of the text, checked before the compiler's parser recurses into it
// or computes columns, which costs it the length of the line each time.
const (
	maxSources = 256     // files
	maxTotal   = 8 << 20 // bytes of all files
	maxLine    = 4096    // bytes of a line
	maxBraces  = 32      // braces, brackets and parentheses within each other
)

// sources are the files of fsys that a system lists and imports.
type sources struct {
	roots     []string            // listed and readable
	text      map[string]string   // by import path
	lines     map[string][]string // of text
	imports   map[string][]string // edges inside fsys
	suggested int                 // suggestions made
	broken    map[string]bool     // could not be read or parsed, or imports what could not
}

// gather reads the listed files and all that they import from fsys, and
// refuses cycles.
func gather(fsys fs.FS, files []system.String, out *diag.List) *sources {
	s := &sources{text: map[string]string{}, lines: map[string][]string{}, imports: map[string][]string{}, broken: map[string]bool{}}
	type want struct {
		path string
		at   diag.Pos
	}
	var queue []want
	for _, f := range files {
		queue = append(queue, want{f.Value, f.Pos})
		s.roots = append(s.roots, f.Value)
	}
	seen, total := map[string]bool{}, 0
	places := map[[2]string]diag.Pos{}
	for len(queue) > 0 {
		w := queue[0]
		queue = queue[1:]
		if seen[w.path] || builtin(w.path) {
			continue
		}
		seen[w.path] = true
		if len(seen) > maxSources {
			out.Errorf(w.at, "", "the system has more than %d .proto files", maxSources)
			s.broken[w.path] = true
			break
		}
		if !fs.ValidPath(w.path) {
			out.Errorf(w.at, "name a file inside the system directory, without '..' or './'", "%q is not a path inside the directory", w.path)
			s.broken[w.path] = true
			continue
		}
		data, ok := system.ReadText(fsys, w.path, w.at, out)
		if total += len(data); ok && total > maxTotal {
			out.Errorf(w.at, "", "the .proto files have more than %d bytes in all", maxTotal)
			ok = false
		}
		if !ok {
			s.broken[w.path] = true
			continue
		}
		s.text[w.path], s.lines[w.path] = string(data), strings.Split(string(data), "\n")
		if !s.vet(w.path, out) {
			s.broken[w.path] = true
			continue
		}
		for _, i := range s.importsOf(w.path) {
			if builtin(i.path) {
				if _, err := s.FindFileByPath(i.path); err != nil {
					out.Errorf(i.at, "", "there is no built-in file %q", i.path)
					s.broken[w.path] = true
				}
				continue
			}
			s.imports[w.path] = append(s.imports[w.path], i.path)
			places[[2]string{w.path, i.path}] = i.at
			queue = append(queue, want{i.path, i.at})
		}
	}
	s.cycles(places, out)
	s.spread()
	return s
}

type imported struct {
	path string
	at   diag.Pos
}

// importsOf parses a file for its imports. Syntax errors are left to the
// compiler.
func (s *sources) importsOf(path string) []imported {
	handler := reporter.NewHandler(reporter.NewReporter(func(reporter.ErrorWithPos) error { return nil }, nil))
	file, _ := guarded(func() (*ast.FileNode, error) {
		return parser.Parse(path, strings.NewReader(s.text[path]), handler)
	})
	if file == nil {
		return nil
	}
	var imports []imported
	for _, d := range file.Decls {
		if n, ok := d.(*ast.ImportNode); ok && n.Name != nil {
			p := file.NodeInfo(n.Name).Start()
			imports = append(imports, imported{n.Name.AsString(), s.at(path, p.Line, p.Col)})
		}
	}
	return imports
}

// cycles reports each cycle of imports once, at the import that closes it.
func (s *sources) cycles(places map[[2]string]diag.Pos, out *diag.List) {
	const (
		open = 1
		done = 2
	)
	state := map[string]int{}
	var stack []string
	var visit func(path string)
	visit = func(path string) {
		state[path] = open
		stack = append(stack, path)
		for _, next := range s.imports[path] {
			switch state[next] {
			case open:
				i := 0
				for stack[i] != next {
					i++
				}
				out.Errorf(places[[2]string{path, next}], "move what both need into a file of its own",
					"import cycle: %s", strings.Join(append(append([]string{}, stack[i:]...), next), " -> "))
				s.broken[path] = true
			case 0:
				visit(next)
			}
		}
		stack = stack[:len(stack)-1]
		state[path] = done
	}
	for _, r := range s.roots {
		if state[r] == 0 {
			visit(r)
		}
	}
}

// spread marks what imports a broken file as broken, too.
func (s *sources) spread() {
	for changed := true; changed; {
		changed = false
		for path, imports := range s.imports {
			for _, i := range imports {
				if s.broken[i] && !s.broken[path] {
					s.broken[path], changed = true, true
				}
			}
		}
	}
}

// whole returns the listed files that can be compiled.
func (s *sources) whole() []string {
	var good []string
	for _, r := range s.roots {
		if !s.broken[r] {
			good = append(good, r)
		}
	}
	return good
}

// vet checks the bounds of a file's text.
func (s *sources) vet(path string, out *diag.List) bool {
	for i, line := range s.lines[path] {
		if len(line) > maxLine {
			out.Errorf(diag.Pos{File: path, Line: i + 1, Column: 1}, "break the line", "the line has %d bytes; the limit is %d", len(line), maxLine)
			return false
		}
	}
	if line := tooDeep(s.text[path]); line > 0 {
		out.Errorf(diag.Pos{File: path, Line: line, Column: 1}, "", "braces are nested more than %d deep", maxBraces)
		return false
	}
	return true
}

// tooDeep returns the line where braces nest too deep, or 0. It skips strings
// and comments as the compiler's lexer does; a string ends at the end of its
// line at the latest, so a mistake in it cannot hide what follows.
func tooDeep(text string) int {
	depth, line := 0, 1
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '\n':
			line++
		case '{', '[', '(', '<':
			if depth++; depth > maxBraces {
				return line
			}
		case '}', ']', ')', '>':
			depth = max(depth-1, 0)
		case '"', '\'':
			for i++; i < len(text) && text[i] != c && text[i] != '\n'; i++ {
				if text[i] == '\\' && i+1 < len(text) && text[i+1] != '\n' {
					i++
				}
			}
			if i < len(text) && text[i] == '\n' {
				line++
			}
		case '/':
			if strings.HasPrefix(text[i:], "//") {
				n := strings.IndexByte(text[i:], '\n')
				if n < 0 {
					return 0
				}
				i += n - 1
			} else if strings.HasPrefix(text[i:], "/*") {
				n := strings.Index(text[i+2:], "*/")
				if n < 0 {
					return 0
				}
				line += strings.Count(text[i:i+2+n], "\n")
				i += n + 3
			}
		}
	}
	return 0
}

// tabWidth is what the compiler expands tabs to when it counts columns.
const tabWidth = 8

// at turns a line and an expanded column of the compiler, both from 1, into a
// place, whose column counts characters.
func (s *sources) at(path string, line, column int) diag.Pos {
	lines := s.lines[path]
	if line < 1 || len(lines) == 0 {
		return diag.Pos{File: path, Line: max(line, 1), Column: max(column, 1)}
	}
	line = min(line, len(lines))
	chars, wide := 0, 0
	for _, r := range lines[line-1] {
		if wide >= column-1 {
			break
		}
		chars++
		if wide++; r == '\t' {
			wide += (tabWidth - wide%tabWidth) % tabWidth
		}
	}
	return diag.Pos{File: path, Line: line, Column: min(chars, utf8.RuneCountInString(lines[line-1])) + 1}
}

func plural(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
