package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// printable is s with what is not printable escaped as in Go.
func printable(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// A plainWriter escapes the control characters of what a domain wrote, but for
// the ends of lines and tabs: they could change what the terminal shows of others.
type plainWriter struct{ out io.Writer }

func (p plainWriter) Write(b []byte) (int, error) {
	text := make([]byte, 0, len(b)+16)
	for i, c := range b {
		// C1 controls are two bytes of UTF-8, the second of which is 0x80 to 0x9f.
		c1 := i > 0 && b[i-1] == 0xc2 && c >= 0x80 && c < 0xa0
		if c1 || c == 0x7f || c < ' ' && c != '\n' && c != '\t' {
			if c1 {
				text = text[:len(text)-1]
			}
			text = fmt.Appendf(text, `\x%02x`, c)
			continue
		}
		text = append(text, c)
	}
	if _, err := p.out.Write(text); err != nil {
		return 0, err
	}
	return len(b), nil
}

// A style colours words, if the output is a terminal and nobody objects
// (https://no-color.org).
type style struct{ colour bool }

func styleFor(w io.Writer) style {
	return style{isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

func (s style) paint(code, text string) string {
	if !s.colour || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s style) good(text string) string { return s.paint("32", text) }
func (s style) bad(text string) string  { return s.paint("31", text) }
func (s style) bold(text string) string { return s.paint("1", text) }
func (s style) dim(text string) string  { return s.paint("2", text) }
