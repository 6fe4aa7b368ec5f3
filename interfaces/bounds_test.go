package interfaces

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf8"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"ward/image"
	"ward/system"
)

// admits is a plain reading of the bounds of the image, as the filter
// enforces them, over what protobuf senders write for m.
func admits(messages []image.Message, index uint32, m protoreflect.Message) bool {
	im := messages[index]
	for _, f := range im.Fields {
		fd := m.Descriptor().Fields().ByNumber(protoreflect.FieldNumber(f.Number))
		if !m.Has(fd) {
			// What is absent without presence is zero, and has to be within the bounds.
			if f.Required || f.Card == image.Repeated && f.MinItems > 0 || f.Card == image.Implicit && !admitsValue(messages, f, fd.Default()) {
				return false
			}
			continue
		}
		if f.Card != image.Repeated {
			if !admitsValue(messages, f, m.Get(fd)) {
				return false
			}
			continue
		}
		l := m.Get(fd).List()
		if n := uint32(l.Len()); n < f.MinItems || n > f.MaxItems {
			return false
		}
		for i := range l.Len() {
			if !admitsValue(messages, f, l.Get(i)) {
				return false
			}
		}
	}
	for _, o := range im.Required {
		if !slices.ContainsFunc(o.Fields, func(i uint32) bool {
			return m.Has(m.Descriptor().Fields().ByNumber(protoreflect.FieldNumber(im.Fields[i].Number)))
		}) {
			return false
		}
	}
	return true
}

func admitsValue(messages []image.Message, f image.Field, v protoreflect.Value) bool {
	switch f.Type {
	case image.Nested:
		n, _ := proto.Marshal(v.Message().Interface())
		return len(n) <= int(f.MaxLen) && admits(messages, f.Message, v.Message())
	case image.String:
		return admitsText(f, v.String())
	case image.Bytes:
		return admitsText(f, string(v.Bytes()))
	case image.Float, image.Double:
		return !f.HasRange || math.Float64frombits(f.Min) <= v.Float() && v.Float() <= math.Float64frombits(f.Max)
	case image.Bool:
		n := uint64(0)
		if v.Bool() {
			n = 1
		}
		return f.Min <= n && n <= f.Max
	}
	switch x := v.Interface().(type) {
	case uint32:
		return admitsUnsigned(f, uint64(x))
	case uint64:
		return admitsUnsigned(f, x)
	case protoreflect.EnumNumber:
		return slices.Contains(f.Values, int64(x))
	}
	n := v.Int()
	return int64(f.Min) <= n && n <= int64(f.Max) && (len(f.Values) == 0 || slices.Contains(f.Values, n))
}

func admitsUnsigned(f image.Field, n uint64) bool {
	return f.Min <= n && n <= f.Max && (len(f.Values) == 0 || slices.Contains(f.Values, int64(n)))
}

func admitsText(f image.Field, s string) bool {
	n, runes := uint32(len(s)), uint32(utf8.RuneCountInString(s))
	if n < f.MinLen || n > f.MaxLen || f.Type == image.String && (runes < f.MinRunes || f.MaxRunes > 0 && runes > f.MaxRunes) {
		return false
	}
	if len(f.In) > 0 && !slices.Contains(f.In, s) || !strings.HasPrefix(s, f.Prefix) || !strings.HasSuffix(s, f.Suffix) {
		return false
	}
	if f.Class != [2]uint64{} {
		for _, b := range []byte(s) {
			if b > 127 || f.Class[b>>6]>>(b&63)&1 == 0 {
				return false
			}
		}
	}
	return true
}

// samples are values of each kind, in the text format.
var samples = map[string][]string{
	"signed":   {"-9", "-3", "-1", "0", "1", "2", "3", "4", "5", "6", "7", "10", "100", "-2147483648", "2147483647"},
	"unsigned": {"0", "1", "2", "3", "4", "5", "6", "7", "10", "100", "4294967295"},
	"bool":     {"true", "false"},
	"real":     {"-3", "-0.0", "0", "0.5", "1", "1.0000001", "2.9999998", "3", "3.0000002", "1e30", "inf", "-inf", "nan"},
	"string": {`""`, `"a"`, `"ab"`, `"abc"`, `"abcd"`, `"abcde"`, `"ü"`, `"üü"`, `"üüü"`, `"a/b"`, `"../x"`, `"A"`, `"a-1"`, `"-"`, `"pre-x"`, `"x.suf"`, `"pre.suf"`,
		`"0"`, `"01234567"`, `"\n"`, `"a\n"`, `"K"`, `"\xe2\x84\xaa"`, `"prex"`, `"aaaa"`, `"abab"`, `"aba"`},
	"bytes": {`""`, `"a"`, `"ab"`, `"abc"`, `"abcd"`, `"\xff\x00"`, `"pre-x"`, `"x.suf"`, `"pre.suf"`},
	"enum":  {"0", "1", "2"},
}

var kinds = map[string]string{
	"int32": "signed", "int64": "signed", "sint32": "signed", "sint64": "signed", "sfixed32": "signed", "sfixed64": "signed",
	"uint32": "unsigned", "uint64": "unsigned", "fixed32": "unsigned", "fixed64": "unsigned",
	"bool": "bool", "float": "real", "double": "real", "string": "string", "bytes": "bytes", "E": "enum",
}

// ruleSets are the rules of each kind; "" is none.
var ruleSets = map[string][]string{
	"signed":   {"", "gte: 3, lte: 5", "gte: -5, lte: -3", "gte: 1, lte: 1000000", "gt: 3", "gte: 3", "lt: 3", "lte: 3", "gt: 1, lt: 5", "gte: -3, lte: 3", "const: 3", "const: 0", "in: [1, 3, 5]", "in: [0, 3]", "gt: 5, lt: 1", "gte: 3, lte: 3", "not_in: [3]", "in: [1, 5, 7], lt: 6", "const: 3, in: [1, 3]", "lte: -1", "example: [3]"},
	"unsigned": {"", "gt: 3", "gte: 3", "lt: 3", "lte: 3", "gt: 1, lt: 5", "const: 3", "const: 0", "in: [1, 3, 5]", "in: [0, 3]", "gt: 5, lt: 1", "not_in: [3]"},
	"bool":     {"", "const: true", "const: false"},
	"real":     {"", "gt: 1", "gte: 1", "lt: 3", "lte: 3", "gt: 1, lt: 3", "gte: 0, lte: 3", "const: 3", "const: 0", "finite: true", "finite: false", "gt: 3, lt: 1", "in: [3]", "in: [0, 3]", "finite: true, gt: 1", "not_in: [3]"},
	"string": {"", "min_len: 2", "max_len: 2", "len: 2", "min_bytes: 2", "max_bytes: 2", "len_bytes: 2", "const: 'abc'", "const: ''", "in: ['a', 'abc']", "in: ['', 'abc']", "prefix: 'pre'", "suffix: '.suf'",
		"prefix: 'pre', suffix: '.suf'", "min_len: 1, max_bytes: 3", "max_len: 0", "email: true", "email: false", "contains: 'b'", "not_in: ['a']", "uuid: true",
		"pattern: '^[a-z0-9-]+$'", "pattern: '^[a-z0-9-]*$'", "pattern: '^[a-z]{2,3}$'", "pattern: '^[a-z]{2,}$'", "pattern: '^[a-z]{2}$'", "pattern: '^[^/]+$'", "pattern: '[a-z]+'", "pattern: '^[a-z]+'",
		"pattern: '^[a-z][a-z0-9-]*$'", "pattern: '(?i)^[a-k]+$'", "pattern: '(?m)^[a-z]+$'", "pattern: '^pre[a-z]$'", "pattern: '^(ab)+$'", "pattern: '^(?:ab)*$'", "pattern: '^a$'", "pattern: '^(a{2}){2}$'", "pattern: '^[a-z]?$'",
		"pattern: '^(?:a|b)+$'", "pattern: '^abc|b$'", "pattern: '^\\\\d{1,8}$'", "pattern: '^\\\\w+$', max_len: 3", "in: ['a', 'abcd'], max_len: 2"},
	"bytes": {"", "min_len: 2", "max_len: 2", "len: 2", "const: 'abc'", "const: ''", "in: ['a', 'abc']", "prefix: 'pre'", "suffix: '.suf'", "contains: 'b'", "not_in: ['a']", "pattern: '^[a-z]+$'", "ip: true"},
	"enum":  {"", "defined_only: true", "in: [0, 1]", "in: [1]", "const: 2", "not_in: [0]", "not_in: [1]"},
}

// shapes are the ways to declare a field; %s are its type and its rules.
var shapes = []struct{ name, decl, rule string }{
	{"implicit", "%s v = 1 [(buf.validate.field) = {%s}];", "%s: {%s}"},
	{"required", "%s v = 1 [(buf.validate.field) = {%s}];", "required: true, %s: {%s}"},
	{"if-zero", "%s v = 1 [(buf.validate.field) = {%s}];", "ignore: IGNORE_IF_ZERO_VALUE, %s: {%s}"},
	{"always", "%s v = 1 [(buf.validate.field) = {%s}];", "ignore: IGNORE_ALWAYS, %s: {%s}"},
	{"optional", "optional %s v = 1 [(buf.validate.field) = {%s}];", "%s: {%s}"},
	{"optional-required", "optional %s v = 1 [(buf.validate.field) = {%s}];", "required: true, %s: {%s}"},
	{"optional-if-zero", "optional %s v = 1 [(buf.validate.field) = {%s}];", "ignore: IGNORE_IF_ZERO_VALUE, %s: {%s}"},
	{"oneof", "oneof o { option (buf.validate.oneof).required = true; %s v = 1 [(buf.validate.field) = {%s}]; bool other = 2; }", "%s: {%s}"},
	{"message-oneof", "option (buf.validate.message).oneof = { fields: ['v', 'other'] }; %s v = 1 [(buf.validate.field) = {%s}]; bool other = 2;", "%s: {%s}"},
	{"repeated", "repeated %s v = 1 [(buf.validate.field) = {%s}];", "repeated: { min_items: 1, max_items: 2, items: { %s: {%s} } }"},
	{"items-if-zero", "repeated %s v = 1 [(buf.validate.field) = {%s}];", "repeated: { max_items: 4, items: { ignore: IGNORE_IF_ZERO_VALUE, %s: {%s} } }"},
	{"repeated-if-zero", "repeated %s v = 1 [(buf.validate.field) = {%s}];", "ignore: IGNORE_IF_ZERO_VALUE, repeated: { min_items: 2, max_items: 4, items: { %s: {%s} } }"},
	{"repeated-required", "repeated %s v = 1 [(buf.validate.field) = {%s}];", "required: true, repeated: { max_items: 4, items: { %s: {%s} } }"},
}

const boundsHead = "syntax = \"proto3\";\npackage p.v1;\nimport \"buf/validate/validate.proto\";\nenum E { A = 0; B = 1; C = 2; }\n"

// TestBounds compares the bounds of the image with protovalidate, for every
// rule that the kernel enforces, every way to declare a field, and every
// sample. If some rule of the field is listed as unenforced, what protovalidate
// accepts must still be admitted; otherwise the two must agree.
func TestBounds(t *testing.T) {
	validator, err := protovalidate.New()
	if err != nil {
		t.Fatal(err)
	}
	compared, loose := 0, 0
	for typ, kind := range kinds {
		if testing.Short() && (typ == "sfixed64" || typ == "sfixed32" || typ == "fixed32") {
			continue
		}
		for _, shape := range shapes {
			t.Run(typ+"/"+shape.name, func(t *testing.T) {
				var text strings.Builder
				text.WriteString(boundsHead)
				var service strings.Builder
				for i, rule := range ruleSets[kind] {
					name := typ
					if typ == "E" {
						name = "enum"
					}
					fmt.Fprintf(&text, "message M%d { %s }\n", i, fmt.Sprintf(shape.decl, typ, fmt.Sprintf(shape.rule, name, rule)))
					fmt.Fprintf(&service, "rpc R%d(M%d) returns (M%d);\n", i, i, i)
				}
				fmt.Fprintf(&text, "service S {\n%s}\n", service.String())
				set, l := Load(fstest.MapFS{"a.proto": {Data: []byte(text.String())}}, []system.String{{Value: "a.proto"}})
				impossible := map[string]bool{}
				for _, f := range l {
					if !strings.Contains(f.Message, "no value satisfies its rules") {
						t.Fatal(f)
					}
					impossible[strings.Split(f.Message, ".")[2]] = true
				}
				if err := checkImage(set); err != nil && len(impossible) == 0 {
					t.Error(err)
				}
				for i, rule := range ruleSets[kind] {
					index := uint32(slices.IndexFunc(set.Messages, func(m image.Message) bool { return m.Name == fmt.Sprintf("p.v1.M%d", i) }))
					desc := set.MessageTypes[index]
					unenforced := slices.ContainsFunc(set.Unenforced, func(u Unenforced) bool {
						return u.Field == desc.FullName()+".v" || u.Field == desc.FullName()
					})
					for _, sample := range inputs(kind, strings.HasPrefix(shape.decl, "repeated")) {
						m := dynamicpb.NewMessage(desc)
						if err := prototext.Unmarshal([]byte(sample), m); err != nil {
							t.Fatal(sample, err)
						}
						want := validator.Validate(m) == nil
						got := admits(set.Messages, index, m) && !impossible[string(desc.Name())]
						compared++
						if unenforced {
							loose++
						}
						if got != want && !(unenforced && got) {
							t.Errorf("%s {%s} of %s: the image says %v, protovalidate %v (unenforced: %v)", typ, rule, sample, got, want, unenforced)
						}
					}
				}
			})
		}
	}
	t.Logf("%d verdicts compared, %d of them with unenforced rules", compared, loose)
}

// inputs returns messages in the text format.
func inputs(kind string, repeated bool) []string {
	in := []string{""}
	for i, s := range samples[kind] {
		in = append(in, "v: "+s)
		if repeated {
			in = append(in, fmt.Sprintf("v: [%s, %s]", s, samples[kind][(i+1)%len(samples[kind])]), fmt.Sprintf("v: [%s, %s, %s]", s, s, s))
		}
	}
	return in
}

// TestUnenforced: each rule that the kernel does not check is listed, with
// the place of its field.
func TestUnenforced(t *testing.T) {
	text := boundsHead + `service S { rpc R(M) returns (M); }
import "google/protobuf/duration.proto"; import "house.proto";

message M {
  option (buf.validate.message).cel = { id: "whole", expression: "true", message: "x" };
  string a = 1 [(buf.validate.field).string.email = true];
  string b = 2 [(buf.validate.field).cel = { id: "b", expression: "this != 'x'", message: "x" }];
  repeated string c = 3 [(buf.validate.field).repeated = { unique: true, max_items: 4, items: { string: { contains: "x" } } }];
  google.protobuf.Duration d = 4 [(buf.validate.field).duration.gt.seconds = 3];
  string e = 5 [(buf.validate.field).string.(q.house) = true];
  string f = 6 [(buf.validate.field).string.pattern = "^(a|bc)$"];
}
`
	const house = `syntax = "proto2"; package q; import "buf/validate/validate.proto";
extend buf.validate.StringRules { optional bool house = 5000 [(buf.validate.predefined).cel = { id: "house", expression: "this != 'x'", message: "x" }]; }
`
	set, l := Load(fstest.MapFS{"a.proto": {Data: []byte(text)}, "house.proto": {Data: []byte(house)}}, []system.String{{Value: "a.proto"}})
	if l.Failed() {
		t.Fatal(l)
	}
	var got []string
	for _, u := range set.Unenforced {
		got = append(got, fmt.Sprintf("%d:%d %s %s", u.Pos.Line, u.Pos.Column, u.Field, u.Rule))
	}
	want := []string{
		"8:1 p.v1.M cel whole",
		"10:3 p.v1.M.a string.email",
		"11:3 p.v1.M.b cel b",
		"12:3 p.v1.M.c repeated.unique",
		"12:3 p.v1.M.c repeated.items.string.contains",
		"13:3 p.v1.M.d duration.gt",
		"14:3 p.v1.M.e string: a predefined rule",
		"15:3 p.v1.M.f string.pattern \"^(a|bc)$\"",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
