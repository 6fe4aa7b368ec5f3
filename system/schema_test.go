package system

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
)

// check is what a JSON Schema validator does, for the keywords that Schema
// uses; another keyword is an error of this test.
func check(at string, schema map[string]any, value any) error {
	for key, arg := range schema {
		if err := keyword(at, schema, key, arg, value); err != nil {
			return err
		}
	}
	return nil
}

func keyword(at string, schema map[string]any, key string, arg, value any) error {
	text, isText := value.(string)
	list, isList := value.([]any)
	object, isObject := value.(map[string]any)
	number, isNumber := toNumber(value)
	wrong := func() error { return fmt.Errorf("%s: %s %v does not take %v", at, key, arg, value) }
	switch key {
	case "description", "title", "$schema":
	case "type":
		_, isBool := value.(bool)
		if is := map[any]bool{"string": isText, "array": isList, "object": isObject, "integer": isNumber, "boolean": isBool}; !is[arg] {
			return wrong()
		}
	case "enum":
		if !slices.Contains(arg.([]any), value) {
			return wrong()
		}
	case "pattern":
		if isText && !regexp.MustCompile(arg.(string)).MatchString(text) {
			return wrong()
		}
	case "maxLength":
		if isText && utf8.RuneCountInString(text) > int(arg.(float64)) {
			return wrong()
		}
	case "minimum":
		if isNumber && number < arg.(float64) {
			return wrong()
		}
	case "maximum":
		if isNumber && number > arg.(float64) {
			return wrong()
		}
	case "maxItems":
		if isList && len(list) > int(arg.(float64)) {
			return wrong()
		}
	case "maxProperties":
		if isObject && len(object) > int(arg.(float64)) {
			return wrong()
		}
	case "required":
		for _, name := range arg.([]any) {
			if _, ok := object[name.(string)]; isObject && !ok {
				return wrong()
			}
		}
	case "anyOf":
		var last error
		for _, s := range arg.([]any) {
			if last = check(at, s.(map[string]any), value); last == nil {
				return nil
			}
		}
		return last
	case "items":
		for i, x := range list {
			if err := check(fmt.Sprint(at, "[", i, "]"), arg.(map[string]any), x); err != nil {
				return err
			}
		}
	case "propertyNames":
		for name := range object {
			if err := check(at+"."+name, arg.(map[string]any), name); err != nil {
				return err
			}
		}
	case "properties":
		for name, s := range arg.(map[string]any) {
			if x, ok := object[name]; ok {
				if err := check(at+"."+name, s.(map[string]any), x); err != nil {
					return err
				}
			}
		}
	case "additionalProperties":
		named, _ := schema["properties"].(map[string]any)
		for name, x := range object {
			if _, ok := named[name]; ok {
				continue
			}
			s, ok := arg.(map[string]any)
			if !ok {
				return fmt.Errorf("%s: no key %q", at, name)
			}
			if err := check(at+"."+name, s, x); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("%s: this test does not know the keyword %q", at, key)
	}
	return nil
}

func toNumber(value any) (float64, bool) {
	switch n := value.(type) {
	case uint64:
		return float64(n), true
	case int64:
		return float64(n), true
	case int:
		return float64(n), true
	}
	return 0, false
}

// TestSchemaAccepts: what the reader takes, the schema that is published for
// editors takes too, and the schema marks what is wrong in a single value.
func TestSchemaAccepts(t *testing.T) {
	b, err := os.ReadFile("../docs/system.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(b, &schema); err != nil {
		t.Fatal(err)
	}
	judge := func(data []byte) error {
		var value any
		if err := yaml.Unmarshal(data, &value); err != nil {
			return err
		}
		return check("file", schema, value)
	}
	var files []string
	for _, pattern := range []string{"testdata/good/*.yaml", "../examples/*/system.yaml", "../examples/daemons/*/system.yaml", "../models/testdata/*/system.yaml"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatal(pattern, err)
		}
		files = append(files, found...)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if _, l := Load(fstest.MapFS{FileName: {Data: data}}); l.Failed() {
			t.Fatal(l)
		}
		if err := judge(data); err != nil {
			t.Errorf("%s: the schema refuses what the reader takes: %v", f, err)
		}
	}
	const good = "ward: 1\nname: x\naudit: all\nrings: [core]\ndomains:\n  a: {program: /a, ring: core, files: {/f: r}, exports: [{interface: p.S, socket: /run/s}], quota: {memory: 1MiB}, once: true}\n"
	if err := judge([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []struct{ was, is string }{
		{"ward: 1", "ward: 2"}, {"name: x", "nmae: x"}, {"name: x", "name: Big"}, {"name: x\n", ""}, {"audit: all", "audit: some"}, {"[core]", "core"},
		{"  a: {", "  A: {"}, {"program: /a", "programme: /a"}, {"program: /a", "program: a"}, {"program: /a", "program: 5"}, {"/f: r", "/f: x"},
		{"/f: r", "f: r"}, {"interface: p.S, ", ""}, {"socket: /run/s", "socket: run/s"}, {"1MiB", "1Mib"}, {"memory", "memry"}, {"once: true", "once: 1"},
	} {
		text := strings.Replace(good, wrong.was, wrong.is, 1)
		_, l := Load(fstest.MapFS{FileName: {Data: []byte(text)}})
		if text == good || !l.Failed() {
			t.Errorf("%q for %q is no mistake", wrong.is, wrong.was)
		}
		if err := judge([]byte(text)); err == nil {
			t.Errorf("the schema takes %q for %q, which the reader refuses: %v", wrong.is, wrong.was, l)
		}
	}
}

// TestSchemaHasAllKeys: a key that the reader knows is in the schema, with a
// text that an editor shows.
func TestSchemaHasAllKeys(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	top := schema["properties"].(map[string]any)
	for _, k := range fileShape.keys {
		if _, ok := top[k.name]; ok == (k.shape.kind == later) {
			t.Errorf("key %q: in the schema %v", k.name, ok)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(top)) {
		if d, _ := top[name].(map[string]any)["description"].(string); d == "" {
			t.Errorf("key %q has no description", name)
		}
	}
}
