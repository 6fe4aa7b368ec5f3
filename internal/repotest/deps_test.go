package repotest

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the list of what wardd depends on anew")

// denied are import path prefixes that must not be linked into wardd: it
// parses no text that people wrote, speaks no network protocol and has no
// command-line framework. (cilium/ebpf brings go/format and encoding/xml along,
// for printing types and for its own tests; nothing here calls them.)
var denied = []string{
	"github.com/goccy/go-yaml", "go.yaml.in/", "gopkg.in/",
	"github.com/cedar-policy/", "github.com/bufbuild/", "buf.build/", "cel.dev/", "github.com/antlr4-go/",
	"google.golang.org/grpc", "google.golang.org/protobuf", "google.golang.org/genproto",
	"github.com/spf13/", "github.com/charmbracelet/",
	"net/http", "net/rpc", "net/smtp", "crypto/tls", "text/template", "html/template", "encoding/gob", "plugin", "testing",
	module + "/system", module + "/interfaces", module + "/policy", module + "/compile", module + "/gate/grpcgate",
}

const allowList = "testdata/wardd.deps"

// TestDependenciesOfWardd compares all that is linked into the privileged
// binary with a list that is read in review. After a deliberate change:
//
//	go test ./internal/repotest -run Wardd -update
func TestDependenciesOfWardd(t *testing.T) {
	packages := list(t, "-deps", "./cmd/wardd")
	var linked []string
	for _, p := range packages {
		for _, d := range denied {
			if p.ImportPath == strings.TrimSuffix(d, "/") || strings.HasPrefix(p.ImportPath, strings.TrimSuffix(d, "/")+"/") {
				t.Errorf("wardd depends on %s, which it must not", p.ImportPath)
			}
		}
		// What the standard library is made of inside changes with Go's releases.
		if !p.Standard || !strings.Contains(p.ImportPath, "internal/") && !strings.HasPrefix(p.ImportPath, "vendor/") {
			linked = append(linked, p.ImportPath)
		}
	}
	slices.Sort(linked)
	got := strings.Join(linked, "\n") + "\n"
	if *update {
		if err := os.WriteFile(allowList, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(allowList)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("what wardd depends on has changed (-%s, +now); if it is meant, run with -update\n%s", allowList, d)
	}
}

// The name server is a domain: it too is small, and needs no part of the
// compiler or the monitor.
func TestDependenciesOfNameServer(t *testing.T) {
	for _, p := range list(t, "-deps", "./cmd/ward-names") {
		switch room(p.ImportPath) {
		case "monitor", "creator", "system", "interfaces", "policy", "compile", "filter":
			t.Errorf("ward-names depends on %s", p.ImportPath)
		}
	}
}
