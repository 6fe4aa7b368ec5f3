package syntax

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"ward/diag"
)

type kind uint8

const (
	end kind = iota
	ident
	keyword
	integer
	text // a string literal, with its quotes
	operator
	bad
)

type token struct {
	kind  kind
	text  string
	pos   diag.Pos
	off   int
	after int // offset after the token
}

// keywords cannot be names. principal, permit, when and so on can.
var keywords = []string{"true", "false", "if", "then", "else", "in", "like", "has", "is", "__cedar"}

// IsIdent reports whether s can be written as a name without quotes.
func IsIdent(s string) bool {
	for i := range len(s) {
		if !identByte(s[i], i == 0) {
			return false
		}
	}
	return s != "" && !slices.Contains(keywords, s)
}

func identByte(c byte, first bool) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || !first && '0' <= c && c <= '9'
}

var operators = []string{"::", "==", "!=", "<=", ">=", "||", "&&",
	"@", ".", ",", ";", "(", ")", "{", "}", "[", "]", "+", "-", "*", ":", "!", "<", ">"}

// scanner cuts text into tokens.
type scanner struct {
	src       string
	file      string
	off       int
	line, col int
}

func (s *scanner) pos() diag.Pos { return diag.Pos{File: s.file, Line: s.line, Column: s.col} }

// skip moves on by n bytes.
func (s *scanner) skip(n int) {
	for _, r := range s.src[s.off : s.off+n] {
		if r == '\n' {
			s.line++
			s.col = 1
		} else {
			s.col++
		}
	}
	s.off += n
}

// space skips white space and comments; it reports a comment without end.
func (s *scanner) space() (unclosed bool) {
	for s.off < len(s.src) {
		rest := s.src[s.off:]
		switch {
		case strings.IndexByte(" \t\r\n", rest[0]) >= 0:
			s.skip(1)
		case strings.HasPrefix(rest, "//"):
			n := strings.IndexByte(rest, '\n')
			if n < 0 {
				n = len(rest)
			}
			s.skip(n)
		case strings.HasPrefix(rest, "/*"):
			n := strings.Index(rest[2:], "*/")
			if n < 0 {
				return true
			}
			s.skip(n + 4)
		default:
			return false
		}
	}
	return false
}

func (s *scanner) next() token {
	if s.space() {
		t := token{bad, "/*", s.pos(), s.off, len(s.src)}
		s.skip(len(s.src) - s.off)
		return t
	}
	t := token{pos: s.pos(), off: s.off}
	rest := s.src[s.off:]
	n := 0
	switch {
	case rest == "":
	case identByte(rest[0], true):
		for n < len(rest) && identByte(rest[n], false) {
			n++
		}
		t.kind = ident
		if slices.Contains(keywords, rest[:n]) {
			t.kind = keyword
		}
	case '0' <= rest[0] && rest[0] <= '9':
		for n < len(rest) && '0' <= rest[n] && rest[n] <= '9' {
			n++
		}
		t.kind = integer
	case rest[0] == '"':
		t.kind, n = quoted(rest)
	default:
		t.kind = bad
		_, n = utf8.DecodeRuneInString(rest)
		for _, op := range operators {
			if strings.HasPrefix(rest, op) {
				t.kind, n = operator, len(op)
				break
			}
		}
	}
	t.text = rest[:n]
	s.skip(n)
	t.after = s.off
	return t
}

// quoted measures a string literal. One without end on its line is bad.
func quoted(s string) (kind, int) {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return text, i + 1
		case '\n':
			return bad, i
		case '\\':
			i++
		}
	}
	return bad, len(s)
}

// unquote decodes what stands between the quotes of a literal. In a pattern
// an unescaped * is a wildcard, and pieces has one entry for each run of text.
func unquote(s string, pattern bool) (pieces []Piece, err error) {
	var b strings.Builder
	flush := func() {
		if b.Len() > 0 {
			pieces = append(pieces, Piece{Text: b.String()})
			b.Reset()
		}
	}
	for i := 0; i < len(s); {
		c := s[i]
		if c == '*' && pattern {
			flush()
			if len(pieces) == 0 || !pieces[len(pieces)-1].Wild {
				pieces = append(pieces, Piece{Wild: true})
			}
			i++
			continue
		}
		if c != '\\' {
			b.WriteByte(c)
			i++
			continue
		}
		if i+1 == len(s) {
			return nil, fmt.Errorf("a \\ at the end of a string")
		}
		i += 2
		switch s[i-1] {
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case '0':
			b.WriteByte(0)
		case '\\', '\'', '"':
			b.WriteByte(s[i-1])
		case '*':
			if !pattern {
				return nil, fmt.Errorf(`\* stands for a star only in the pattern of like`)
			}
			b.WriteByte('*')
		case 'x':
			v, ok := hex(s, i, 2)
			if !ok || v > 127 {
				return nil, fmt.Errorf(`\x takes two hexadecimal digits, at most 7f`)
			}
			b.WriteByte(byte(v))
			i += 2
		case 'u':
			n := strings.IndexByte(s[i:], '}')
			if n < 2 || s[i] != '{' || s[i+1] == '_' {
				return nil, fmt.Errorf(`\u takes one to six hexadecimal digits in braces`)
			}
			digits := strings.ReplaceAll(s[i+1:i+n], "_", "")
			v, ok := hex(digits, 0, len(digits))
			if !ok || len(digits) > 6 || !utf8.ValidRune(rune(v)) {
				return nil, fmt.Errorf(`\u{%s} is no character`, digits)
			}
			b.WriteRune(rune(v))
			i += n + 1
		default:
			return nil, fmt.Errorf(`unknown escape \%c`, s[i-1])
		}
	}
	flush()
	return pieces, nil
}

func hex(s string, at, n int) (v uint32, ok bool) {
	if at+n > len(s) || n == 0 || n > 8 {
		return 0, false
	}
	for _, c := range []byte(s[at : at+n]) {
		switch {
		case '0' <= c && c <= '9':
			v = v<<4 | uint32(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			v = v<<4 | uint32(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return v, true
}

// Quote writes s as a string literal of Cedar.
func Quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u{%x}`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
