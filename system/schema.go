package system

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Schema returns the JSON Schema of system.yaml, for editors. It is made from
// the same table as the reader's checks; docs/system.schema.json is its copy.
// What a schema cannot say (that a domain needs a program, that a ring
// exists, ...) Load says.
func Schema() []byte {
	s := schemaOf(fileShape)
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "Ward: " + FileName
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic(err) // maps, slices, strings and numbers always marshal
	}
	return append(out, '\n')
}

func schemaOf(s *shape) map[string]any {
	m := map[string]any{"description": s.doc}
	switch s.kind {
	case text:
		m["type"] = "string"
		switch {
		case len(s.enum) > 0:
			m["enum"] = s.enum
		case s.pattern != "":
			m["pattern"] = s.pattern
			m["maxLength"] = maxText
		}
	case integer:
		m["type"], m["minimum"], m["maximum"] = "integer", s.least, s.most
	case bytes:
		m["anyOf"] = []any{
			map[string]any{"type": "integer", "minimum": s.least, "maximum": s.most},
			map[string]any{"type": "string", "pattern": bytesPattern},
		}
	case boolean:
		m["type"] = "boolean"
	case list:
		m["type"], m["items"], m["maxItems"] = "array", schemaOf(s.elem), s.most
	case table:
		m["type"], m["additionalProperties"], m["maxProperties"] = "object", schemaOf(s.elem), s.most
		m["propertyNames"] = map[string]any{"pattern": s.key.pattern}
	case object:
		properties, required := map[string]any{}, []string{}
		for _, k := range s.keys {
			if k.shape.kind == later {
				continue // an editor marks it, as the reader refuses it
			}
			properties[k.name] = schemaOf(k.shape)
			if k.required {
				required = append(required, k.name)
			}
		}
		m["type"], m["properties"], m["additionalProperties"] = "object", properties, false
		if len(required) > 0 {
			m["required"] = required
		}
	case either:
		var any []any
		for _, e := range s.either {
			any = append(any, schemaOf(e))
		}
		m["anyOf"] = any
	}
	return m
}

// Reference returns the keys of system.yaml as Markdown, for docs/system.md.
func Reference() string {
	var b strings.Builder
	section := func(title string, s *shape) {
		fmt.Fprintf(&b, "### %s\n\n| key | value | meaning |\n|---|---|---|\n", title)
		var refused []string
		for _, k := range s.keys {
			if k.shape.kind == later {
				refused = append(refused, "`"+k.name+"`")
				continue
			}
			doc := k.shape.doc
			if k.required {
				doc += " Required."
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", k.name, describe(k.shape), doc)
		}
		if len(refused) > 0 {
			fmt.Fprintf(&b, "\nKnown, but refused by this version: %s.\n", strings.Join(refused, ", "))
		}
		b.WriteByte('\n')
	}
	section("Top level", fileShape)
	section("A domain", domainShape)
	section("An entry of `files`, long form", domainShape.find("files").shape.elem.either[1])
	section("An entry of `listen`, long form", listenShape.either[1])
	section("An entry of `exports`, long form", domainShape.find("exports").shape.elem.either[1])
	section("An entry of `exports`, `methods`", methodShape)
	section("`children`", childrenShape)
	section("`label`", labelShape)
	section("A role", rolesShape.elem)
	section("An entry of `use`, long form", useShape.elem.either[1])
	section("`quota`", domainShape.find("quota").shape)
	section("An entry of `state`", stateShape)
	section("An entry of `objects`", objectShape)
	return b.String()
}

// describe says in a few words what a value may be.
func describe(s *shape) string {
	switch s.kind {
	case text:
		if len(s.enum) > 0 {
			return "`" + strings.Join(s.enum, "`, `") + "`"
		}
		return s.hint
	case integer:
		if s.least == s.most {
			return fmt.Sprintf("%d", s.least)
		}
		return fmt.Sprintf("%d to %d", s.least, s.most)
	case bytes:
		return "bytes: 65536, 64MiB"
	case boolean:
		return "`true`, `false`"
	case list:
		return "list: " + describe(s.elem)
	case table:
		return "mapping: " + describe(s.key) + " → " + describe(s.elem)
	case object:
		return "mapping"
	case either:
		var words []string
		for _, e := range s.either {
			words = append(words, describe(e))
		}
		return strings.Join(words, "; or ")
	}
	return ""
}
