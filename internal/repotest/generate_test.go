package repotest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Generated code is committed; it must be what the generator makes of the
// committed .proto file.
func TestGeneratedCodeIsCurrent(t *testing.T) {
	top := root(t)
	out := t.TempDir()
	cmd := exec.Command("go", "run", module+"/internal/protogen", "-out", out, "picture.proto")
	cmd.Dir = filepath.Join(top, "examples/picture")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	for _, name := range []string{"picture.pb.go", "picture_grpc.pb.go"} {
		want, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(top, "examples/picture/picturev1", name))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), string(got)); d != "" {
			t.Errorf("%s is not current; run `make generate`\n%s", name, d)
		}
	}
}
