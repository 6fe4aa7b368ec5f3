package interfaces_test

import (
	"testing"
	"testing/fstest"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"ward/interfaces"
	"ward/system"
)

// Another program can link what Descriptors returns, with the rules of
// protovalidate and the comments.
func TestDescriptors(t *testing.T) {
	fsys := fstest.MapFS{
		"a.proto": {Data: []byte(`syntax = "proto3";
package a.v1;
import "b.proto";
// A keeps things.
service A { rpc Get(b.v1.Name) returns (b.v1.Name); }
`)},
		"b.proto": {Data: []byte(`syntax = "proto3";
package b.v1;
import "buf/validate/validate.proto";
message Name { string text = 1 [(buf.validate.field).string.max_len = 9]; }
`)},
	}
	set, findings := interfaces.Load(fsys, []system.String{{Value: "a.proto"}})
	if findings.Failed() {
		t.Fatal(findings)
	}
	encoded, err := set.Descriptors()
	if err != nil {
		t.Fatal(err)
	}
	var files descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(encoded, &files); err != nil {
		t.Fatal(err)
	}
	// protodesc refuses a file before what it imports, and options that are lost show as size.
	linked, err := protodesc.NewFiles(&files)
	if err != nil {
		t.Fatal(err)
	}
	d, err := linked.FindDescriptorByName("a.v1.A")
	if err != nil {
		t.Fatal(err)
	}
	if got := d.ParentFile().SourceLocations().ByDescriptor(d).LeadingComments; got != " A keeps things.\n" {
		t.Errorf("comment %q", got)
	}
	text, err := linked.FindDescriptorByName("b.v1.Name.text")
	if err != nil {
		t.Fatal(err)
	}
	if proto.Size(text.Options()) == 0 {
		t.Error("the rules of b.v1.Name.text are lost")
	}
}
