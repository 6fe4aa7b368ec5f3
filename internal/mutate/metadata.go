package main

// Conditions on metadata.
var metadataMutations = []mutation{
	{what: "a method's own table of metadata is the shared one", file: "filter/spec.go", old: "row.flags |= beside << methodMetadata", new: "_ = beside"},
	{what: "every method has the first table of metadata", file: messageH, old: "m->flags >> M_METADATA", new: "NODE_METADATA"},
	{what: "metadata that a condition looks at is not text", file: "image/metadata.go", old: "if !looked[i] {", new: "if m.Fields[i].Number > 0 {"},
	{what: "metadata that a reply's condition looks at is not text", file: "image/metadata.go", old: "[]*Decision{&r.Methods[i].Request, &r.Methods[i].Reply}", new: "[]*Decision{&r.Methods[i].Request}"},
	{what: "metadata is that of the key before", file: "policy/metadata.go", old: "optional: true, number: uint32(i) + 1,", new: "optional: true, number: max(uint32(i), 1),"},
	{what: "metadata is never absent", file: "policy/metadata.go", old: "optional: true, number:", new: "number:"},
}
