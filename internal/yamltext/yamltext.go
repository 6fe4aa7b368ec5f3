// Package yamltext parses the YAML that people write for Ward: one document of
// mappings, lists and scalars, without anchors, tags and complex keys. The
// readers of system.yaml and of policy tests share it.
//
// Invariants: pure; bounded work and depth for any input; every node has a
// place inside the file.
package yamltext

import (
	"errors"
	"fmt"
	"slices"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"ward/diag"
)

// Bounds of the YAML text, checked before the parser recurses into it. The
// formats themselves nest 6 to 10 deep.
const (
	maxNesting = 32      // brackets and dashes within each other
	maxColumn  = 400     // of the first word of a line
	maxTokens  = 200_000 // words, brackets and punctuation
)

// A Source is the text of a file, and what places in it exist.
type Source struct {
	File  string
	Lines []int // number of characters in each line
}

// NewSource measures the lines of a file. File is the name that findings give.
func NewSource(file string, data []byte) Source {
	s := Source{file, []int{0}}
	for _, r := range string(data) {
		if r == '\n' {
			s.Lines = append(s.Lines, 0)
		} else {
			s.Lines[len(s.Lines)-1]++
		}
	}
	return s
}

// At returns the place of a token, moved into the file if the parser put it
// beyond the end: it does so for what is missing.
func (s Source) At(t *token.Token) diag.Pos {
	line, column := 1, 1
	if t != nil && t.Position != nil {
		line, column = t.Position.Line, t.Position.Column
	}
	line = min(max(line, 1), len(s.Lines))
	return diag.Pos{File: s.File, Line: line, Column: min(max(column, 1), s.Lines[line-1]+1)}
}

// Parse turns the text into the syntax tree of its one document, or says why
// not and returns nil. What is the file, as "a system"; first says how it starts.
func Parse(src Source, data []byte, what, first string, out *diag.List) (root ast.Node) {
	defer func() {
		// The parser is a guest; a bug of it must not end the compiler.
		if r := recover(); r != nil {
			out.Errorf(diag.Pos{File: src.File, Line: 1, Column: 1}, "simplify the file", "the YAML parser failed: %v", r)
			root = nil
		}
	}()
	tokens := lexer.Tokenize(string(data))
	if !vet(src, tokens, out) {
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		p, message := diag.Pos{File: src.File, Line: 1, Column: 1}, ""
		if e, ok := errors.AsType[yaml.Error](err); ok {
			p, message = src.At(e.GetToken()), e.GetMessage()
		} else {
			message = err.Error() // not of the other: it prints the tokens around, in quadratic time
		}
		out.Errorf(p, fixOf(message), "not YAML: %s", message)
		return nil
	}
	docs := slices.DeleteFunc(file.Docs, func(d *ast.DocumentNode) bool { return d.Body == nil })
	switch len(docs) {
	case 0:
		out.Errorf(diag.Pos{File: src.File, Line: 1, Column: 1}, "start with "+first, "the file is empty")
		return nil
	case 1:
		return docs[0].Body
	}
	out.Errorf(src.At(docs[1].Body.GetToken()), "", "a second YAML document: %s has one", what)
	return nil
}

// vet refuses what the format does not have, and what would make the parser
// work or recurse without bound.
func vet(src Source, tokens token.Tokens, out *diag.List) bool {
	if len(tokens) > maxTokens {
		out.Errorf(src.At(tokens[maxTokens]), "", "the file has more than %d words and marks", maxTokens)
		return false
	}
	good, brackets, dashes, line := true, 0, 0, 0
	refuse := func(t *token.Token, format string, args ...any) {
		if good {
			out.Errorf(src.At(t), "", format, args...)
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

// Scalar returns the text of a scalar node and what YAML takes it for.
func Scalar(n ast.Node) (v any, raw, is string) {
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

// Entries returns the pairs of a mapping node in the order of the file.
func Entries(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

// KeyText returns the text of a mapping's key.
func KeyText(n ast.MapKeyNode) string {
	if s, ok := n.(*ast.StringNode); ok {
		return s.Value
	}
	return n.GetToken().Value
}
