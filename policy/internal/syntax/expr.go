package syntax

import "slices"

// The grammar is that of cedar-go 1.9, which is that of Cedar 4.

func (p *parser) expr() *Expr {
	defer p.enter()()
	if !p.word("if") {
		return p.or()
	}
	t := p.advance()
	c := p.expr()
	p.wantWord("then")
	a := p.expr()
	p.wantWord("else")
	b := p.expr()
	return p.node(If, t.pos, c, a, b)
}

func (p *parser) wantWord(w string) {
	if !p.word(w) {
		p.unexpected("`" + w + "`")
	}
	p.advance()
}

func (p *parser) or() *Expr {
	e := p.and()
	for p.is("||") {
		t := p.advance()
		e = p.node(Or, t.pos, e, p.and())
	}
	return e
}

func (p *parser) and() *Expr {
	e := p.relation()
	for p.is("&&") {
		t := p.advance()
		e = p.node(And, t.pos, e, p.relation())
	}
	return e
}

var relations = map[string]Op{"<": Lt, "<=": Le, ">": Gt, ">=": Ge, "!=": Ne, "==": Eq}

func (p *parser) relation() *Expr {
	e := p.sum()
	switch {
	case p.word("has"):
		p.advance()
		return p.has(e)
	case p.word("like"):
		p.advance()
		if p.tok.kind != text {
			p.unexpected("a pattern in quotes")
		}
		t := p.advance()
		pieces, err := unquote(t.text[1:len(t.text)-1], true)
		if err != nil {
			p.fail(t.pos, "", "%v", err)
		}
		n := p.node(Like, t.pos, e)
		n.Pattern = pieces
		return n
	case p.word("is"):
		p.advance()
		name, at := p.path()
		n := p.node(Is, at, e)
		n.Name = name
		if p.word("in") {
			p.advance()
			n.Op = IsIn
			n.Args = append(n.Args, p.sum())
		}
		return n
	case p.word("in"):
		t := p.advance()
		return p.node(In, t.pos, e, p.sum())
	}
	if op, ok := relations[p.tok.text]; ok && p.tok.kind == operator {
		t := p.advance()
		e = p.node(op, t.pos, e, p.sum())
		if _, chain := relations[p.tok.text]; chain && p.tok.kind == operator {
			p.fail(p.tok.pos, "write a < b && b < c", "comparisons do not chain")
		}
	}
	return e
}

// has reads what follows `has`: a name, a path of names, or a quoted name.
func (p *parser) has(e *Expr) *Expr {
	if p.tok.kind == text {
		t, s := p.str("")
		n := p.node(Has, t.pos, e)
		n.Name = s
		return n
	}
	t := p.name("the name of an attribute")
	n := p.node(Has, t.pos, e)
	n.Name = t.text
	res, at := n, e
	for p.is(".") {
		dot := p.advance()
		deeper := p.node(Access, t.pos, at)
		deeper.Name = t.text
		at = deeper
		t = p.name("the name of an attribute")
		h := p.node(Has, t.pos, at)
		h.Name = t.text
		res = p.node(And, dot.pos, res, h)
	}
	return res
}

func (p *parser) sum() *Expr {
	e := p.product()
	for p.is("+") || p.is("-") {
		t := p.advance()
		op := Add
		if t.text == "-" {
			op = Sub
		}
		e = p.node(op, t.pos, e, p.product())
	}
	return e
}

func (p *parser) product() *Expr {
	e := p.unary()
	for p.is("*") {
		t := p.advance()
		e = p.node(Mul, t.pos, e, p.unary())
	}
	return e
}

func (p *parser) unary() *Expr {
	if !p.is("-") && !p.is("!") {
		return p.member()
	}
	defer p.enter()()
	t := p.advance()
	if t.text == "!" {
		return p.node(Not, t.pos, p.unary())
	}
	if p.tok.kind == integer {
		e := p.integerLiteral("-")
		e.Pos = t.pos
		return e
	}
	return p.node(Neg, t.pos, p.unary())
}

func (p *parser) member() *Expr {
	e := p.primary()
	for {
		switch {
		case p.accept("."):
			t := p.name("the name of an attribute or a method")
			if !p.is("(") {
				e = p.node(Access, t.pos, e)
				e.Name = t.text
				continue
			}
			p.advance()
			args := append([]*Expr{e}, p.list(")")...)
			e = p.method(t, args)
		case p.is("["):
			p.advance()
			t, s := p.str("the name of an attribute in quotes")
			e = p.node(Access, t.pos, e)
			e.Name = s
			p.want("]")
		default:
			return e
		}
		if p.terms++; p.terms > MaxTerms {
			p.fail(e.Pos, "split the policy", "policy of more than %d terms", MaxTerms)
		}
	}
}

// core are the methods of Cedar itself, with the number of arguments.
var core = map[string]int{"contains": 1, "containsAll": 1, "containsAny": 1, "isEmpty": 0, "hasTag": 1, "getTag": 1}

// Extensions are the functions of Cedar's extension types.
var (
	functions  = []string{"ip", "decimal", "datetime", "duration"}
	extMethods = []string{"lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual", "isIpv4", "isIpv6", "isLoopback",
		"isMulticast", "isInRange", "toDate", "toTime", "offset", "durationSince", "toDays", "toHours", "toMinutes", "toSeconds", "toMilliseconds"}
)

func (p *parser) method(t token, args []*Expr) *Expr {
	n, ok := core[t.text]
	op := Method
	switch {
	case ok && len(args)-1 != n:
		p.fail(t.pos, "", "%s takes %d argument(s), not %d", t.text, n, len(args)-1)
	case ok:
	case slices.Contains(extMethods, t.text):
		op = Call
	default:
		p.fail(t.pos, "the methods are contains, containsAll, containsAny and isEmpty", "`%s` is not a method", t.text)
	}
	e := p.node(op, t.pos, args...)
	e.Name = t.text
	return e
}

// list reads expressions up to a closing bracket, and the bracket.
func (p *parser) list(closing string) []*Expr {
	var res []*Expr
	for !p.is(closing) {
		e := p.expr()
		res = append(res, e)
		switch e.Op {
		case Bool, Long, String, Entity: // cheap for all passes
			p.terms--
			if p.members++; p.members > MaxMembers {
				p.fail(e.Pos, "split the policy", "policy of more than %d constants in sets", MaxMembers)
			}
		}
		if !p.is(closing) {
			p.want(",")
		}
	}
	p.advance()
	return res
}

func (p *parser) primary() *Expr {
	t := p.tok
	switch {
	case t.kind == integer:
		return p.integerLiteral("")
	case t.kind == text:
		_, s := p.str("")
		e := p.node(String, t.pos)
		e.Str = s
		return e
	case p.word("true"), p.word("false"):
		p.advance()
		e := p.node(Bool, t.pos)
		e.Bool = t.text == "true"
		return e
	case t.kind == ident:
		return p.named()
	case p.accept("("):
		e := p.expr()
		p.want(")")
		return e
	case p.accept("["):
		return p.node(Set, t.pos, p.list("]")...)
	case p.accept("{"):
		return p.record(t)
	}
	p.unexpected("an expression")
	return nil
}

// named reads a variable, an entity or a call of an extension function.
func (p *parser) named() *Expr {
	t := p.advance()
	switch {
	case p.is("::"):
		u := p.uid(t)
		e := p.node(Entity, u.Pos)
		e.Name, e.Str, e.IDPos = u.Type, u.ID, u.IDPos
		return e
	case p.accept("("):
		if !slices.Contains(functions, t.text) {
			p.fail(t.pos, "the functions are ip, decimal, datetime and duration", "`%s` is not a function", t.text)
		}
		e := p.node(Call, t.pos, p.list(")")...)
		e.Name = t.text
		return e
	case t.text == "principal", t.text == "action", t.text == "resource", t.text == "context":
		e := p.node(Var, t.pos)
		e.Name = t.text
		return e
	}
	p.fail(t.pos, "parameters are written context."+t.text+", strings stand in quotes", "unknown name `%s`", t.text)
	return nil
}

func (p *parser) record(open token) *Expr {
	e := p.node(Record, open.pos)
	for !p.is("}") {
		var key string
		t := p.tok
		if t.kind == text {
			_, key = p.str("")
		} else {
			key = p.name("the name of an attribute").text
		}
		if slices.Contains(e.Keys, key) {
			p.fail(t.pos, "", "attribute %s stands twice", key)
		}
		p.want(":")
		e.Keys = append(e.Keys, key)
		e.Args = append(e.Args, p.expr())
		if !p.is("}") {
			p.want(",")
		}
	}
	p.advance()
	return e
}
