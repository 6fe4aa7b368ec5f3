package interfaces

import (
	"slices"
	"testing"

	"ward/image"
)

// TestHandle: the message of a handle is as filters know it, wherever a field
// of it is, and its bounds are those that the kernel can enforce.
func TestHandle(t *testing.T) {
	set, l := one(t, `syntax = "proto3";
package p.v1;
import "ward/v1/handle.proto";
import "buf/validate/validate.proto";
service S {
  rpc Put(Frame) returns (Result);
  rpc Stream(stream Frame) returns (stream Frame);
}
message Frame {
  int32 width = 1;
  Inner inner = 7;
}
message Inner {
  string name = 1;
  oneof content {
    bytes data = 2;
    ward.v1.Handle pixels = 3;
  }
}
message Result { optional ward.v1.Handle thumbnail = 4 [(buf.validate.field).required = true]; }
`)
	if len(l) > 0 {
		t.Fatal(l)
	}
	img := &image.Image{Name: "s", Interfaces: set.Interfaces, Messages: set.Messages}
	if err := img.Check(); err != nil {
		t.Fatal(err)
	}
	m := set.Interfaces[0].Methods[0]
	for _, want := range []struct {
		message uint32
		path    []uint32
	}{{m.Request, []uint32{7, 3}}, {m.Reply, []uint32{4}}} {
		if path, ok := img.HandleOf(want.message); !ok || !slices.Equal(path, want.path) {
			t.Errorf("%s: handle at %v, %v; want %v", set.Messages[want.message].Name, path, ok, want.path)
		}
	}
	i := slices.IndexFunc(set.Messages, func(m image.Message) bool { return m.Name == image.HandleName })
	if i < 0 {
		t.Fatal("no message of a handle")
	}
	h := set.Messages[i]
	if path, ok := img.HandleOf(uint32(i)); ok {
		t.Errorf("a handle within a handle at %v", path)
	}
	for _, f := range h.Fields[:2] {
		if !f.Required {
			t.Errorf("%s of a handle may be left out", f.Name)
		}
	}
	if kinds := h.Fields[1].Values; !slices.Equal(kinds, []int64{1}) {
		t.Errorf("kinds %v", kinds)
	}
	if id := h.Fields[0]; id.Min != 1 || id.Max != 1<<40-1 {
		t.Errorf("numbers from %d to %d", id.Min, id.Max)
	}
	if size := h.Fields[2]; size.Max != image.MaxObjectSize {
		t.Errorf("sizes up to %d", size.Max)
	}
	for _, u := range set.Unenforced {
		t.Errorf("not enforced: %v", u)
	}
}
