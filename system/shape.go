package system

import (
	"regexp"
	"sync"
)

// A shape is what a value of system.yaml may be. One tree of shapes (keys.go)
// drives both the reader and the JSON Schema, so the two cannot differ.
type shape struct {
	kind    kind
	doc     string   // one sentence, for editors
	pattern string   // text: a regular expression that is the same in Go and in ECMAScript
	hint    string   // text: what the pattern means, for people
	enum    []string // text: all that is allowed
	later   []string // text: what will be allowed
	least   uint64   // integer, bytes
	most    uint64   // integer, bytes; list, table: number of entries
	key     *shape   // table: the keys
	elem    *shape   // list, table: the values
	keys    []key    // object
	either  []*shape // either: at most one each of a scalar, a list, and an object or table
}

type kind uint8

const (
	text    kind = iota + 1
	integer      // least to most
	bytes        // an integer, or with a unit: 64MiB
	boolean
	list
	table  // keys of the writer's choice
	object // known keys
	either
	later // known, but not supported by this version
)

// A key of an object.
type key struct {
	name     string
	required bool
	shape    *shape
}

func str(doc, pattern, hint string) *shape {
	return &shape{kind: text, doc: doc, pattern: pattern, hint: hint}
}

func oneOf(doc string, values ...string) *shape { return &shape{kind: text, doc: doc, enum: values} }

func number(doc string, least, most uint64) *shape {
	return &shape{kind: integer, doc: doc, least: least, most: most}
}

func size(doc string, least, most uint64) *shape {
	return &shape{kind: bytes, doc: doc, least: least, most: most}
}

func yesNo(doc string) *shape { return &shape{kind: boolean, doc: doc} }

func listOf(doc string, most uint64, elem *shape) *shape {
	return &shape{kind: list, doc: doc, most: most, elem: elem}
}

func tableOf(doc string, most uint64, key, elem *shape) *shape {
	return &shape{kind: table, doc: doc, most: most, key: key, elem: elem}
}

func objectOf(doc string, keys ...key) *shape { return &shape{kind: object, doc: doc, keys: keys} }

func anyOf(doc string, shapes ...*shape) *shape {
	return &shape{kind: either, doc: doc, either: shapes}
}

func notYet(doc string) *shape { return &shape{kind: later, doc: doc} }

// find returns the key of an object by name, or nil.
func (s *shape) find(name string) *key {
	for i := range s.keys {
		if s.keys[i].name == name {
			return &s.keys[i]
		}
	}
	return nil
}

// names returns the names of the keys that may be written.
func (s *shape) names() []string {
	var names []string
	for _, k := range s.keys {
		if k.shape.kind != later {
			names = append(names, k.name)
		}
	}
	return names
}

// wants says in words what a value of the shape is.
func (s *shape) wants() string {
	switch s.kind {
	case text:
		return "text"
	case integer:
		return "a whole number"
	case bytes:
		return "a number of bytes, such as 65536 or 64MiB"
	case boolean:
		return "true or false"
	case list:
		return "a list"
	case table, object:
		return "a mapping (key: value)"
	case either:
		words := s.either[0].wants()
		for _, e := range s.either[1:] {
			words += " or " + e.wants()
		}
		return words
	}
	return "nothing yet"
}

var patterns sync.Map // of string to *regexp.Regexp

// matches reports whether v matches the shape's pattern, if it has one.
func (s *shape) matches(v string) bool {
	if s.pattern == "" {
		return true
	}
	re, ok := patterns.Load(s.pattern)
	if !ok {
		re, _ = patterns.LoadOrStore(s.pattern, regexp.MustCompile(s.pattern))
	}
	return re.(*regexp.Regexp).MatchString(v)
}
