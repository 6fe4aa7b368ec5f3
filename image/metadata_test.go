package image

import (
	"slices"
	"testing"
)

// TestMetadataPaths: conditions on metadata pass the check, and paths have names.
// It is the control of TestCheck's cases about metadata.
func TestMetadataPaths(t *testing.T) {
	img := sample()
	img.Metadata = []Metadata{{"traceparent", 64}, {"a.b", 9}, {"proof-bin", 16}}
	d := &img.Routes[0].Methods[0].Request
	has := func(i int) Expr { return Expr{Op: Has, Path: MetadataPath(i)} }
	d.Permit[0].When = Expr{Op: And, Args: []Expr{has(0), has(2),
		{Op: Prefix, Left: Operand{What: Scalar, Path: MetadataPath(0)}, Right: Operand{Value: Value{IsString: true, String: "00-"}}},
		{Op: Less, Left: Operand{What: Size, Path: MetadataPath(2)}, Right: Operand{Value: Value{Long: 9}}}}}
	if err := img.Check(); err != nil {
		t.Fatal(err)
	}
	wantTypes(t, img, String, Bytes, Bytes) // a.b is not looked at
	// One that a reply's condition looks at is text in requests, too.
	img.Routes[0].Methods[0].Reply.Forbid = []Rule{{When: has(1)}}
	wantTypes(t, img, String, String, Bytes)
	for name, path := range map[string][]uint32{"ward.metadata.a.b": MetadataPath(1), "ward.metadata": {MetadataField}, "ward.metadata.#9": {MetadataField, 9}, "#1": {1}} {
		if got := img.PathName(nil, path); got != name {
			t.Errorf("path %v is %q, want %q", path, got, name)
		}
	}
}

func wantTypes(t *testing.T, img *Image, want ...Type) {
	t.Helper()
	var types []Type
	for _, f := range img.Section(&img.Routes[0]).Fields {
		types = append(types, f.Type)
	}
	if !slices.Equal(types, want) {
		t.Errorf("types %v, want %v", types, want)
	}
}
