package repotest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Generated code is committed; it must be what the generator makes of the
// committed .proto file.
func TestGeneratedCodeIsCurrent(t *testing.T) {
	top := root(t)
	protos, err := filepath.Glob(filepath.Join(top, "examples/*/*.proto"))
	if err != nil || len(protos) == 0 {
		t.Fatal("no examples: ", err)
	}
	for _, proto := range protos {
		dir, name := filepath.Dir(proto), strings.TrimSuffix(filepath.Base(proto), ".proto")
		out := t.TempDir()
		cmd := exec.Command("go", "run", module+"/internal/protogen", "-out", out, name+".proto")
		cmd.Dir = dir
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		for _, file := range []string{name + ".pb.go", name + "_grpc.pb.go"} {
			want, err := os.ReadFile(filepath.Join(out, file))
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(filepath.Join(dir, name+"v1", file))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Errorf("%s of %s is not current; run `make generate`\n%s", file, dir, d)
			}
		}
	}
}
