package system

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"ward/diag"
)

// Bounds of the YAML text, checked before the parser recurses into it. The
// format itself nests 6 deep.
const (
	maxNesting = 32      // brackets and dashes within each other
	maxColumn  = 400     // of the first word of a line
	maxTokens  = 200_000 // words, brackets and punctuation
)

// ReadText reads a text file of a system directory. What is larger than
// MaxFile, no regular file or not UTF-8 is a finding, and is not returned;
// the size is asked for before anything is read.
func ReadText(fsys fs.FS, name string, at diag.Pos, out *diag.List) ([]byte, bool) {
	info, err := fs.Stat(fsys, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		out.Errorf(at, "", "file %q does not exist", name)
		return nil, false
	case err != nil:
		out.Errorf(at, "", "cannot read %q: %v", name, cause(err))
		return nil, false
	case !info.Mode().IsRegular():
		out.Errorf(at, "", "%q is not a regular file", name)
		return nil, false
	case info.Size() > MaxFile:
		out.Errorf(at, "", "%q has %d bytes; the limit is %d", name, info.Size(), MaxFile)
		return nil, false
	}
	data, err := fs.ReadFile(fsys, name)
	if err != nil {
		out.Errorf(at, "", "cannot read %q: %v", name, cause(err))
		return nil, false
	}
	if len(data) > MaxFile { // it grew, or lied
		out.Errorf(at, "", "%q has %d bytes; the limit is %d", name, len(data), MaxFile)
		return nil, false
	}
	if p, bad := notUTF8(name, data); bad {
		out.Errorf(p, "save the file as UTF-8", "byte 0x%02x is not part of UTF-8 text", data[offset(data)])
		return nil, false
	}
	return data, true
}

// cause strips the path, which the message names already.
func cause(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// offset returns the index of the first byte that is not UTF-8, or -1.
func offset(data []byte) int {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n <= 1 {
			return i
		}
		i += n
	}
	return -1
}

func notUTF8(name string, data []byte) (diag.Pos, bool) {
	i := offset(data)
	if i < 0 {
		return diag.Pos{}, false
	}
	p := diag.Pos{File: name, Line: 1, Column: 1}
	for _, r := range string(data[:i]) {
		p.Column++
		if r == '\n' {
			p.Line, p.Column = p.Line+1, 1
		}
	}
	return p, true
}

// source is the text of a file, and what places in it exist.
type source struct {
	file  string
	lines []int // number of characters in each line
}

func newSource(file string, data []byte) source {
	s := source{file, []int{0}}
	for _, r := range string(data) {
		if r == '\n' {
			s.lines = append(s.lines, 0)
		} else {
			s.lines[len(s.lines)-1]++
		}
	}
	return s
}

// at returns the place of a token, moved into the file if the parser put it
// beyond the end: it does so for what is missing.
func (s source) at(t *token.Token) diag.Pos {
	line, column := 1, 1
	if t != nil && t.Position != nil {
		line, column = t.Position.Line, t.Position.Column
	}
	line = min(max(line, 1), len(s.lines))
	return diag.Pos{File: s.file, Line: line, Column: min(max(column, 1), s.lines[line-1]+1)}
}

// parse turns the text into a syntax tree, or says why not.
func parse(src source, data []byte, out *diag.List) (root ast.Node) {
	defer func() {
		// The parser is a guest; a bug of it must not end the compiler.
		if r := recover(); r != nil {
			out.Errorf(diag.Pos{File: src.file, Line: 1, Column: 1}, "simplify the file", "the YAML parser failed: %v", r)
			root = nil
		}
	}()
	tokens := lexer.Tokenize(string(data))
	if !vet(src, tokens, out) {
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		p, message := diag.Pos{File: src.file, Line: 1, Column: 1}, err.Error()
		if e, ok := errors.AsType[yaml.Error](err); ok {
			p, message = src.at(e.GetToken()), e.GetMessage()
		}
		out.Errorf(p, "", "not YAML: %s", message)
		return nil
	}
	docs := slices.DeleteFunc(file.Docs, func(d *ast.DocumentNode) bool { return d.Body == nil })
	switch len(docs) {
	case 0:
		out.Errorf(diag.Pos{File: src.file, Line: 1, Column: 1}, "start with `ward: 1` and `name:`", "the file is empty")
		return nil
	case 1:
		return docs[0].Body
	}
	out.Errorf(src.at(docs[1].Body.GetToken()), "", "a second YAML document: a system has one")
	return nil
}

// vet refuses what the format does not have, and what would make the parser
// work or recurse without bound.
func vet(src source, tokens token.Tokens, out *diag.List) bool {
	if len(tokens) > maxTokens {
		out.Errorf(src.at(tokens[maxTokens]), "", "the file has more than %d words and marks", maxTokens)
		return false
	}
	good, brackets, dashes, line := true, 0, 0, 0
	refuse := func(t *token.Token, format string, args ...any) {
		if good {
			out.Errorf(src.at(t), "", format, args...)
		}
		good = false
	}
	for _, t := range tokens {
		if t.Position.Line != line {
			line, dashes = t.Position.Line, 0
			if brackets == 0 && t.Position.Column > maxColumn && t.Type != token.CommentType {
				refuse(t, "the line is indented by more than %d characters", maxColumn)
			}
		}
		switch t.Type {
		case token.AnchorType, token.AliasType, token.MergeKeyType:
			refuse(t, "anchors, aliases and merge keys are not used here: write the value out")
		case token.TagType, token.DirectiveType:
			refuse(t, "tags and directives are not used here")
		case token.MappingKeyType:
			refuse(t, "complex keys (?) are not used here: write `key: value`")
		case token.SequenceStartType, token.MappingStartType:
			brackets++
		case token.SequenceEndType, token.MappingEndType:
			brackets--
		case token.SequenceEntryType, token.MappingValueType:
			dashes++
		}
		if brackets > maxNesting || dashes > 2*maxNesting && brackets == 0 {
			refuse(t, "nested more than %d deep", maxNesting)
		}
	}
	return good
}

// scalar returns the text of a scalar node and what YAML takes it for.
func scalar(n ast.Node) (v any, raw, is string) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, n.Value, "text"
	case *ast.LiteralNode:
		return n.Value.Value, n.Value.Value, "text"
	case *ast.IntegerNode:
		return n.Value, n.Token.Value, "the number " + n.Token.Value
	case *ast.BoolNode:
		return n.Value, n.Token.Value, "the truth value " + n.Token.Value
	case *ast.NullNode:
		return nil, "", "nothing"
	case *ast.MappingNode, *ast.MappingValueNode:
		return nil, "", "a mapping"
	case *ast.SequenceNode:
		return nil, "", "a list"
	case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return nil, n.GetToken().Value, "the number " + n.GetToken().Value
	}
	return nil, "", fmt.Sprintf("%s", n.Type())
}
