package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// block is a marked block of a page: what is to be done with it, and its text.
var block = regexp.MustCompile("(?ms)^<!-- (file|append|run):? ?(\\S*) -->\n```[a-z]*\n(.*?)^```$")

// followPage does what a page says, in the script's directory: it writes the files
// that the page shows and runs its commands. $SYSTEM becomes the system's name,
// which others on the machine may have.
func followPage(ts *testscript.TestScript, negated bool, args []string) {
	if negated || len(args) != 2 {
		ts.Fatalf("usage: follow PAGE DIR")
	}
	page, err := os.ReadFile(args[0])
	ts.Check(err)
	dir := ts.MkAbs(args[1])
	blocks := block.FindAllStringSubmatch(string(page), -1)
	if len(blocks) == 0 {
		ts.Fatalf("%s: no block is marked", args[0])
	}
	for _, b := range blocks {
		what, name, text := b[1], b[2], b[3]
		path := filepath.Join(dir, filepath.FromSlash(name))
		switch what {
		case "file":
			text = strings.Replace(text, "\nname: notes\n", "\nname: "+ts.Getenv("SYSTEM")+"\n", 1)
			ts.Check(os.MkdirAll(filepath.Dir(path), 0o755))
			ts.Check(os.WriteFile(path, []byte(text), 0o644))
		case "append":
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			ts.Check(err)
			_, err = f.WriteString(text)
			ts.Check(err)
			ts.Check(f.Close())
		case "run":
			ts.Check(ts.Chdir(dir))
			for line := range strings.Lines(text) {
				// Modules come from the cache, as the build of this test left it.
				if line = strings.TrimSpace(line); line == "go mod tidy" {
					line = "go mod edit -go=$(go -C $WARD list -m -f '{{.GoVersion}}') && cp $WARD/go.sum go.sum && go list -mod=mod ./... >/dev/null"
				}
				ts.Check(ts.Exec("sh", "-euc", line))
			}
		}
	}
}
