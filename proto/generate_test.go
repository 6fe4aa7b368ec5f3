package proto

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestGenerated: the committed Go code is what generate.sh writes.
func TestGenerated(t *testing.T) {
	out := t.TempDir()
	if err := os.MkdirAll(filepath.Join(out, "ward/v1"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "run", "ward/internal/protogen", "-out", out, "ward/v1/handle.proto", "ward/v1/names.proto", "ward/v1/status.proto")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	for _, name := range []string{"handle.pb.go", "names.pb.go", "names_grpc.pb.go", "status.pb.go"} {
		want, err := os.ReadFile(filepath.Join(out, "ward/v1", name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join("ward/v1", name))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), string(got)); d != "" {
			t.Errorf("%s is not current; run proto/generate.sh\n%s", name, d)
		}
	}
}
