package creator

import (
	"os"
	"path/filepath"
	"testing"

	"ward/image"
)

// TestThread: a domain can give up rights on one of its threads (package
// thread): its own allow-list lets it ask for less.
func TestThread(t *testing.T) {
	dir := ownDir(t, 0)
	var paths []string
	var files []image.File
	for _, n := range []string{"one", "two"} {
		p := filepath.Join(dir, n)
		if err := os.WriteFile(p, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
		paths, files = append(paths, p), append(files, image.File{Path: p, Access: image.Read})
	}
	w := newWorld(t, 0, image.Domain{Name: "thread", Program: hostile, Args: append([]string{"thread"}, paths...), Files: files})
	if out, status := w.result(0); out != "done" || status != 0 {
		t.Errorf("%q, status %v", out, status)
	}
}
