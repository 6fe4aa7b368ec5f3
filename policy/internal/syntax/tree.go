package syntax

import "ward/diag"

// MaxNesting bounds how deeply expressions nest: parentheses, sets, if, !.
const MaxNesting = 64

// MaxTerms bounds the nodes of one policy, but for constants in sets.
const MaxTerms = 8192

// MaxMembers bounds the constants in the sets of one policy.
const MaxMembers = 1 << 15

// Op is what a node of the tree is.
type Op uint8

const (
	Bool   Op = iota + 1 // Bool
	Long                 // Long
	String               // Str
	Entity               // Name::"Str"
	Var                  // Name: principal, action, resource, context
	And
	Or
	Not
	Neg
	If // Args: condition, then, else
	Eq
	Ne
	Lt
	Le
	Gt
	Ge
	In
	Add
	Sub
	Mul
	Has    // Args[0] has Name
	Like   // Args[0] like Pattern
	Is     // Args[0] is Name
	IsIn   // Args[0] is Name in Args[1]
	Access // Args[0].Name
	Method // Args[0].Name(Args[1:]): a method of Cedar's core
	Call   // Name(Args): an extension function, or a method of an extension type
	Set    // [Args]
	Record // {Keys: Args}
)

// An Expr is a node. Pos is the place of its own token: the operator, the
// name of an attribute, the literal.
type Expr struct {
	Op      Op
	Pos     diag.Pos
	Args    []*Expr
	Name    string
	Str     string
	Long    int64
	Bool    bool
	Keys    []string
	Pattern []Piece  // Like
	IDPos   diag.Pos // Entity: the place of the identifier
	Uses    Uses     // variables that e looks at; set by FindUses
}

// A Piece of a pattern: a wildcard, or literal text.
type Piece struct {
	Wild bool
	Text string
}

// Start is the place of the leftmost token of e.
func (e *Expr) Start() diag.Pos {
	p := e.Pos
	for _, a := range e.Args {
		if s := a.Start(); s.Line < p.Line || s.Line == p.Line && s.Column < p.Column {
			p = s
		}
	}
	return p
}

// A UID names an entity.
type UID struct {
	Type, ID string
	Pos      diag.Pos // of the type
	IDPos    diag.Pos // of the identifier
}

func (u UID) String() string { return u.Type + "::" + Quote(u.ID) }

// A ScopeKind is a form of constraint in a policy's scope.
type ScopeKind uint8

const (
	All    ScopeKind = iota
	Equal            // == UIDs[0]
	Within           // in UIDs[0]
	Among            // in UIDs; actions only
	OfType           // is Type
	TypeIn           // is Type in UIDs[0]
)

// A Scope is the constraint on the principal, the action or the resource.
type Scope struct {
	Kind    ScopeKind
	Pos     diag.Pos // of the variable
	UIDs    []UID
	Type    string
	TypePos diag.Pos
}

// A Condition is a when or unless clause.
type Condition struct {
	Unless bool
	Pos    diag.Pos
	Body   *Expr
}

// An Annotation is @Key("Value").
type Annotation struct {
	Key, Value string
	Pos        diag.Pos // of the key
	ValuePos   diag.Pos
	HasValue   bool
}

// A Policy is one permit or forbid.
type Policy struct {
	Forbid      bool
	Pos         diag.Pos // of permit or forbid
	Annotations []Annotation
	Principal   Scope
	Action      Scope
	Resource    Scope
	Conditions  []Condition
	Text        string // from the first annotation to the semicolon
}

// Annotation returns the annotation with a key.
func (p *Policy) Annotation(key string) (Annotation, bool) {
	for _, a := range p.Annotations {
		if a.Key == key {
			return a, true
		}
	}
	return Annotation{}, false
}

// Walk calls f for e and what is below it, parents first, until f says not to
// go below a node.
func (e *Expr) Walk(f func(*Expr) bool) {
	if !f(e) {
		return
	}
	for _, a := range e.Args {
		a.Walk(f)
	}
}

// Uses is a set of variables, and whether state is read.
type Uses uint8

const (
	Principal Uses = 1 << iota
	Action
	Resource
	Context
	State // of an entity: principal.state, System::"…".state
)

var variables = map[string]Uses{"principal": Principal, "action": Action, "resource": Resource, "context": Context}

// FindUses sets Uses of e and all below it.
func (e *Expr) FindUses() Uses {
	if e.Op == Var {
		e.Uses = variables[e.Name]
	}
	for _, a := range e.Args {
		e.Uses |= a.FindUses()
	}
	if e.Op == Access && e.Name == "state" && e.Args[0].Op != Record && e.Uses&Context == 0 {
		e.Uses |= State
	}
	return e.Uses
}

// Path writes a chain of attributes of a variable, as in context.chain.size; "" if e is none.
func (e *Expr) Path() string {
	switch e.Op {
	case Var:
		return e.Name
	case Access:
		if p := e.Args[0].Path(); p != "" {
			if IsIdent(e.Name) {
				return p + "." + e.Name
			}
			return p + "[" + Quote(e.Name) + "]"
		}
	}
	return ""
}
