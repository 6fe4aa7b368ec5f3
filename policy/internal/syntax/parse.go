package syntax

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"ward/diag"
)

// Parse reads the policies of a file. A policy with an error is left out and
// reported in findings; reading goes on after its semicolon.
func Parse(file, src string, findings *diag.List) []*Policy {
	if i := invalid(src); i >= 0 {
		s := scanner{src: src[:i], file: file, line: 1, col: 1}
		s.skip(i)
		findings.Errorf(s.pos(), "save the file as UTF-8", "byte 0x%02x is not UTF-8 text", src[i])
		return nil
	}
	p := &parser{scanner: scanner{src: src, file: file, line: 1, col: 1}, findings: findings}
	p.scanner.skip(len(src) - len(strings.TrimPrefix(src, "\ufeff")))
	p.advance()
	var all []*Policy
	for p.tok.kind != end {
		if pol := p.one(); pol != nil {
			all = append(all, pol)
		}
	}
	return all
}

// invalid returns the offset of the first byte that is not part of UTF-8 text, or -1.
func invalid(s string) int {
	for i, r := range s {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return i
			}
		}
		if r == 0 {
			return i
		}
	}
	return -1
}

// syntaxError ends the reading of one policy.
type syntaxError struct{ diag.Finding }

type parser struct {
	scanner  scanner
	tok      token
	last     int // offset after the token before tok
	findings *diag.List
	depth    int
	terms    int
	members  int // constants in sets
}

func (p *parser) advance() token {
	t := p.tok
	p.last = t.after
	p.tok = p.scanner.next()
	return t
}

func (p *parser) fail(at diag.Pos, fix, format string, args ...any) {
	panic(syntaxError{diag.Finding{Severity: diag.Error, Pos: at, Message: fmt.Sprintf(format, args...), Fix: fix}})
}

// show describes the token for a message.
func (t token) show() string {
	switch {
	case t.kind == end:
		return "the end of the file"
	case t.kind == bad && strings.HasPrefix(t.text, `"`):
		return "a string without its closing quote"
	case t.kind == bad && t.text == "/*":
		return "a comment without its end"
	case len(t.text) > 40:
		return t.text[:strings.LastIndexFunc(t.text[:40], func(rune) bool { return true })] + "…"
	}
	return "`" + t.text + "`"
}

func (p *parser) unexpected(want string) {
	fix := ""
	switch p.tok.text {
	case "=":
		fix = "equality is written =="
	case "&", "|":
		fix = "the operators are && and ||"
	case "'":
		fix = `strings stand in double quotes`
	case "/", "%":
		fix = "Cedar has no division"
	default:
		switch {
		case p.tok.kind == end:
			fix = "complete the policy: permit (principal, action, resource) when { … };"
		case p.tok.kind == bad && strings.HasPrefix(p.tok.text, `"`):
			fix = `close the string with "`
		case p.tok.kind == bad && p.tok.text == "/*":
			fix = "comments are written // …"
		default:
			fix = "write " + want + " here"
		}
	}
	p.fail(p.tok.pos, fix, "%s where %s was expected", p.tok.show(), want)
}

func (p *parser) is(op string) bool { return p.tok.kind == operator && p.tok.text == op }

func (p *parser) word(w string) bool {
	return (p.tok.kind == ident || p.tok.kind == keyword) && p.tok.text == w
}

func (p *parser) accept(op string) bool {
	if p.is(op) {
		p.advance()
		return true
	}
	return false
}

func (p *parser) want(op string) token {
	if !p.is(op) {
		p.unexpected("`" + op + "`")
	}
	return p.advance()
}

func (p *parser) name(what string) token {
	if p.tok.kind != ident {
		p.unexpected(what)
	}
	return p.advance()
}

func (p *parser) str(what string) (token, string) {
	if p.tok.kind != text {
		p.unexpected(what)
	}
	t := p.advance()
	pieces, err := unquote(t.text[1:len(t.text)-1], false)
	if err != nil {
		p.fail(t.pos, "", "%v", err)
	}
	if len(pieces) == 0 {
		return t, ""
	}
	return t, pieces[0].Text
}

// one reads a policy. After an error it returns nil, with the reader behind
// the policy's semicolon, or at the annotation that starts the next.
func (p *parser) one() (pol *Policy) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case syntaxError:
			*p.findings = append(*p.findings, e.Finding)
			for p.tok.kind != end && !p.is(";") && !(p.is("@") && p.tok.pos.Line > e.Pos.Line) {
				p.advance()
			}
			p.accept(";")
			pol = nil
		default:
			panic(e)
		}
	}()
	p.depth, p.terms, p.members = 0, 0, 0
	start := p.tok.off
	pol = &Policy{}
	for p.is("@") {
		p.annotation(pol)
	}
	pol.Pos = p.tok.pos
	switch {
	case p.word("permit"):
	case p.word("forbid"):
		pol.Forbid = true
	default:
		p.unexpected("`permit`, `forbid` or an annotation")
	}
	p.advance()
	p.want("(")
	pol.Principal = p.scope("principal")
	p.want(",")
	pol.Action = p.scope("action")
	p.want(",")
	pol.Resource = p.scope("resource")
	p.accept(",")
	p.want(")")
	for p.word("when") || p.word("unless") {
		t := p.advance()
		p.want("{")
		body := p.expr()
		p.want("}")
		pol.Conditions = append(pol.Conditions, Condition{t.text == "unless", t.pos, body})
	}
	if !p.is(";") {
		p.unexpected("`when`, `unless` or `;`")
	}
	p.advance()
	pol.Text = p.scanner.src[start:p.last]
	return pol
}

func (p *parser) annotation(pol *Policy) {
	p.advance()
	if p.tok.kind != ident && p.tok.kind != keyword {
		p.unexpected("the name of an annotation")
	}
	t := p.advance()
	a := Annotation{Key: t.text, Pos: t.pos, ValuePos: t.pos}
	if p.accept("(") {
		v, s := p.str("a string")
		a.Value, a.ValuePos, a.HasValue = s, v.pos, true
		p.want(")")
	}
	if _, twice := pol.Annotation(a.Key); twice {
		p.fail(a.Pos, "keep one of them", "annotation @%s stands twice", a.Key)
	}
	pol.Annotations = append(pol.Annotations, a)
}

// uid reads Path::"id", of which the first name is already read.
func (p *parser) uid(first token) UID {
	u := UID{Type: first.text, Pos: first.pos}
	for {
		p.want("::")
		if p.tok.kind == text {
			t, s := p.str("")
			u.ID, u.IDPos = s, t.pos
			return u
		}
		u.Type += "::" + p.name(`a name or an identifier in quotes, as in Domain::"name"`).text
	}
}

func (p *parser) entity() UID { return p.uid(p.name(`an entity, as in Domain::"name"`)) }

func (p *parser) path() (string, diag.Pos) {
	t := p.name("the name of an entity type")
	s := t.text
	for p.accept("::") {
		s += "::" + p.name("a name").text
	}
	return s, t.pos
}

func (p *parser) scope(variable string) Scope {
	if !p.word(variable) {
		p.unexpected("`" + variable + "`")
	}
	sc := Scope{Pos: p.advance().pos}
	switch {
	case p.accept("=="):
		sc.Kind, sc.UIDs = Equal, []UID{p.entity()}
	case p.word("in"):
		p.advance()
		if variable != "action" || !p.is("[") {
			sc.Kind, sc.UIDs = Within, []UID{p.entity()}
			break
		}
		sc.Kind = Among
		open := p.advance()
		for !p.is("]") {
			sc.UIDs = append(sc.UIDs, p.entity())
			if !p.is("]") {
				p.want(",")
			}
		}
		p.advance()
		if len(sc.UIDs) == 0 {
			p.fail(open.pos, "name the actions, or leave the constraint out", "an empty list of actions matches nothing")
		}
	case p.word("is") && variable != "action":
		p.advance()
		sc.Kind = OfType
		sc.Type, sc.TypePos = p.path()
		if p.word("in") {
			p.advance()
			sc.Kind, sc.UIDs = TypeIn, []UID{p.entity()}
		}
	}
	return sc
}

func (p *parser) node(op Op, at diag.Pos, args ...*Expr) *Expr {
	if p.terms++; p.terms > MaxTerms {
		p.fail(at, "split the policy", "policy of more than %d terms", MaxTerms)
	}
	return &Expr{Op: op, Pos: at, Args: args}
}

// enter counts a level of nesting.
func (p *parser) enter() func() {
	if p.depth++; p.depth > MaxNesting {
		p.fail(p.tok.pos, "split the policy", "expression nested more than %d levels deep", MaxNesting)
	}
	return func() { p.depth-- }
}

// integerLiteral reads an integer; its sign, if it has one, is already read.
func (p *parser) integerLiteral(sign string) *Expr {
	t := p.advance()
	v, err := strconv.ParseInt(sign+t.text, 10, 64)
	if err != nil {
		p.fail(t.pos, "a Long is between -9223372036854775808 and 9223372036854775807", "%s%s is out of range", sign, t.text)
	}
	e := p.node(Long, t.pos)
	e.Long = v
	return e
}

// ParseOne reads a text that is one policy; nil if it is not.
func ParseOne(text string) *Policy {
	var findings diag.List
	all := Parse("", text, &findings)
	if len(all) != 1 || len(findings) > 0 {
		return nil
	}
	return all[0]
}
