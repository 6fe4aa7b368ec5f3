package repotest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// imports are those that the lines of the README's diffs may need, by the name
// that stands in them.
var imports = map[string]string{
	"net": "net", "context": "context", "grpc": "google.golang.org/grpc", "insecure": "google.golang.org/grpc/credentials/insecure",
	"grpcgate": module + "/gate/grpcgate", "picturev1": module + "/examples/picture/picturev1",
}

// TestReadmeDiffCompiles: the README says that moving a generated gRPC service
// to Ward is two changed lines in the server and one in each client. Both sides
// of its diffs compile, and these are all the lines.
func TestReadmeDiffCompiles(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root(t), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```diff\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) != 2 {
		t.Fatalf("%d diffs, want that of a server and that of a client", len(blocks))
	}
	for side, other := range map[string]string{"-": "+", "+": "-"} {
		var server, client string
		for i, into := range []*string{&server, &client} {
			changed := 0
			for line := range strings.Lines(blocks[i][1]) {
				switch {
				case strings.HasPrefix(line, other):
				case strings.HasPrefix(line, side):
					changed++
					fallthrough
				default:
					*into += line[1:]
				}
			}
			if want := 2 - i; changed != want {
				t.Errorf("diff %d has %d lines with %s, want %d", i, changed, side, want)
			}
		}
		body := fmt.Sprintf(`
func server(manager picturev1.PicturesServer) error {
%s	if err != nil {
		return err
	}
	return s.Serve(lis)
}

func client(ctx context.Context) error {
%s	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = client.List(ctx, &picturev1.ListRequest{})
	return err
}

var _, _ = server, client
`, server, client)
		head := "package readme\n\nimport (\n"
		for name, path := range imports {
			if regexp.MustCompile(`\b` + name + `\.[A-Z]`).MatchString(body) {
				head += fmt.Sprintf("\t%q\n", path)
			}
		}
		compiles(t, head+")\n"+body)
	}
}

// compiles builds a package of one file, as if it stood in this module.
func compiles(t *testing.T, source string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "readme.go")
	if err := os.WriteFile(file, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(root(t), "internal/repotest/readme/readme.go"): file}})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-overlay", list, module+"/internal/repotest/readme")
	cmd.Dir, cmd.Env = root(t), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("the lines of the README do not compile: %v\n%s\n%s", err, out, source)
	}
}
