package interfaces

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"ward/system"
)

// TestSize: the computed largest encoding is reached by the message written
// beside each declaration, and by no larger one.
func TestSize(t *testing.T) {
	for _, c := range []struct{ decl, message string }{
		{"", ""},
		{"bool v = 1;", "v: true"},
		{"bool v = 2000;", "v: true"},
		{"int32 v = 1;", "v: -1"},
		{"int32 v = 1 [(buf.validate.field).int32.gte = 0];", "v: 2147483647"},
		{"int32 v = 1 [(buf.validate.field).int32 = {in: [1, 300]}];", "v: 300"},
		{"sint32 v = 1;", "v: -2147483648"},
		{"sint32 v = 1 [(buf.validate.field).sint32 = {gte: -65, lte: 0}];", "v: -65"},
		{"uint32 v = 1 [(buf.validate.field).uint32.lt = 128];", "v: 127"},
		{"uint64 v = 1;", "v: 9223372036854775807"},
		{"fixed32 v = 1; sfixed64 w = 2; float x = 3; double y = 4;", "v: 1 w: 1 x: 1 y: 1"},
		{"E v = 1;", "v: -1"},
		{"string v = 1;", "v: '" + strings.Repeat("a", 4096) + "'"},
		{"string v = 1 [(buf.validate.field).string.max_len = 32];", "v: '" + strings.Repeat("\\360\\237\\230\\200", 32) + "'"},
		{"string v = 1 [(buf.validate.field).string.pattern = '^[a-z]{0,127}$'];", "v: '" + strings.Repeat("a", 127) + "'"},
		{"bytes v = 16 [(buf.validate.field).bytes.max_len = 128];", "v: '" + strings.Repeat("a", 128) + "'"},
		{"repeated bool v = 1 [packed = false, (buf.validate.field).repeated.max_items = 3];", "v: [true, true, true]"},
		{"repeated bool v = 1 [(buf.validate.field).repeated.max_items = 1];", "v: [true]"},
		{"repeated string v = 1 [(buf.validate.field).repeated = {max_items: 2, items: {string: {max_bytes: 3}}}];", "v: ['abc', 'abc']"},
		{"oneof o { bool a = 1; string b = 2 [(buf.validate.field).string.max_bytes = 5]; } bool c = 3;", "b: 'abcde' c: true"},
		{"Inner v = 1; repeated Inner w = 2 [(buf.validate.field).repeated.max_items = 2];", "v { x: 1 } w { x: 1 } w { x: 1 }"},
	} {
		text := boundsHead + fmt.Sprintf("service S { rpc R(Outer) returns (Outer); }\nmessage Outer { M m = 1; }\nmessage Inner { fixed32 x = 1; }\nmessage M { %s }\n",
			c.decl)
		text = strings.Replace(text, "C = 2; }", "C = 2; MINUS = -1; }", 1)
		set, l := Load(fstest.MapFS{"a.proto": {Data: []byte(text)}}, []system.String{{Value: "a.proto"}})
		if l.Failed() {
			t.Fatal(l)
		}
		f := set.Messages[0].Fields[0]
		m := dynamicpb.NewMessage(set.MessageTypes[f.Message])
		if err := prototext.Unmarshal([]byte(c.message), m); err != nil {
			t.Fatal(c.decl, err)
		}
		if got := proto.Size(m); uint32(got) != f.MaxLen {
			t.Errorf("%s: computed %d, the largest message has %d", c.decl, f.MaxLen, got)
		}
		if !admits(set.Messages, f.Message, m) {
			t.Errorf("%s: the bounds refuse the largest message", c.decl)
		}
	}
}

// FuzzLoad: whatever the text, Load ends without a panic, its findings have a
// place in the file, and what it accepts the image accepts.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(boundsHead + "service S { rpc R(M) returns (stream M); }\nmessage M { repeated string a = 1 [(buf.validate.field).repeated.max_items = 2]; oneof o { int32 b = 2; M2 c = 3; } }\nmessage M2 { optional double d = 1 [(buf.validate.field).double.gt = 2]; }\n"))
	f.Add([]byte("syntax = \"proto2\"; package p; message A { optional group B = 1 {} }"))
	f.Add([]byte("import \"a.proto\";"))
	f.Add([]byte("syntax = \"proto3\"; package p; import \"ward/v1/handle.proto\"; message M { oneof o { ward.v1.Handle a = 1; N b = 2; } } message N { repeated ward.v1.Handle c = 1; } service S { rpc R(M) returns (ward.v1.Handle); }"))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, l := Load(fstest.MapFS{"a.proto": {Data: data}}, []system.String{{Value: "a.proto"}})
		lines := strings.Count(string(data), "\n") + 1
		for _, f := range l {
			if f.Pos.File == "a.proto" && (f.Pos.Line < 1 || f.Pos.Line > lines || f.Pos.Column < 1) {
				t.Errorf("finding outside the file: %v", f)
			}
		}
		if l.Failed() {
			return
		}
		if err := checkImage(set); err != nil {
			t.Error(err)
		}
	})
}
