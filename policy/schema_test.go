package policy_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"ward/diag"
	"ward/image"
	"ward/interfaces"
	"ward/policy"
	"ward/system"
)

var update = flag.Bool("update", false, "write golden files")

// golden compares got with a file of testdata, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got), -update writes it:\n%s", path, d)
	}
}

const testSystem = `ward: 1
name: shop
interfaces: [shop.proto]
policy: [policy.cedar]
domains:
  server:
    program: /usr/lib/shop/server
    ring: service
    exports:
      - shop.v1.Shop
      - { interface: shop.v1.Door, socket: /run/shop.sock }
    files: { /etc/shop: r, /var/lib/shop: rw }
    listen: { web: "tcp:0.0.0.0:8080" }
    connect: ["tcp:*:443"]
  clerk:
    program: /usr/lib/shop/clerk
  thief:
    program: /usr/lib/shop/thief
`

const testProto = `syntax = "proto3";
package shop.v1;
import "buf/validate/validate.proto";

enum Size { SIZE_UNSPECIFIED = 0; SMALL = 1; LARGE = 5; }

message Order {
  int64 count = 1;
  bool gift = 2;
  string item = 3;
  Size size = 4;
  bytes note = 5;
  repeated string tags = 6 [(buf.validate.field).repeated = {max_items: 8, items: {string: {max_bytes: 64}}}];
  Address address = 7;
  optional uint32 discount = 8;
  oneof pay { string card = 9; uint64 cash = 10; }
  double weight = 11;
  bool wrap = 12;
  string in = 13;
  Size box = 14;
}
message Address { string city = 1; optional int32 zip = 2; repeated int32 codes = 3; }
message Bought { int64 number = 1; Address to = 2; }
message Query { string item = 1; }
message Seen { bool there = 1; }

service Shop {
  rpc Buy(Order) returns (Bought);
  rpc Look(Query) returns (Seen);
}
service Door {
  rpc Knock(Query) returns (Seen);
}
`

// load reads a system, which has to be without errors.
func load(t testing.TB, sysYAML, proto string) (*system.System, *interfaces.Set) {
	t.Helper()
	fsys := fstest.MapFS{"system.yaml": {Data: []byte(sysYAML)}, "shop.proto": {Data: []byte(proto)}, "policy.cedar": {}}
	sys, l := system.Load(fsys)
	if l.Failed() {
		t.Fatal(l)
	}
	set, l := interfaces.Load(fsys, sys.Interfaces)
	if l.Failed() {
		t.Fatal(l)
	}
	return sys, set
}

// compileText compiles policies for the test system.
func compileText(t testing.TB, text string) (*image.Image, *interfaces.Set, diag.List) {
	t.Helper()
	sys, set := load(t, testSystem, testProto)
	img, l := policy.Compile(sys, set, []policy.Source{{Name: "policy.cedar", Text: text}})
	return img, set, l
}

func TestSchema(t *testing.T) {
	golden(t, "shop.cedarschema", policy.Schema(load(t, testSystem, testProto)))
}
