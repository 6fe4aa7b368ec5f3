package policy

import (
	"ward/diag"
	"ward/image"
	"ward/system"
)

// keysName is how messages name the record of metadata.
const keysName = "context.ward.metadata"

// keysType is the record of metadata: an optional attribute for each key that
// the system declares.
func (w *world) keysType() *typ {
	t := recordType(keysName)
	for i, k := range w.sys.Metadata {
		key := image.Metadata{Key: k.Key.Value, Max: k.Max}
		a := &attr{name: key.Key, typ: &typ{kind: text, field: "metadata"}, optional: true, number: uint32(i) + 1, what: image.Scalar}
		if key.Type() == image.Bytes {
			a.typ = recordType(key.Key, &attr{name: "size", typ: &typ{kind: long, field: "the size of metadata"}, what: image.Size})
		}
		t.rec.add(a)
	}
	return t
}

// reserved is context.ward: the state of the gate, and metadata. That of a
// client's stream comes with the call that opens it, on which no policy decides:
// a condition on it would be about the items, which come without.
func (m *messages) reserved(opened bool) *attr {
	a := &attr{name: "metadata", typ: m.keys, beside: true}
	if opened {
		a.typ, a.left = anyType, "that of a client's stream comes with the call that opens it, on which no policy decides"
		a.instead = "name the methods that the policy is about, in the scope or as action in […] && …, and decide on a field of the stream's items"
	}
	return &attr{name: "ward", typ: recordType("context.ward", &attr{name: "gate", typ: m.gate}, a)}
}

// otherKey is what to do about a key that the system does not declare.
func otherKey(key string, known []string) string {
	if fix := diag.Suggest(key, known); fix != "" {
		return fix
	}
	return "declare it with its size under metadata in " + system.FileName + "; " + didYouMean(key, known, "key")
}
