package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// allowed are the modules and packages that the privileged binary may be made
// of, beside the standard library. Each line is a decision: what is added
// here runs as root.
var allowed = []string{
	"ward/abi", "ward/audit", "ward/audit/event", "ward/cmd/wardd", "ward/creator", "ward/filter", "ward/holder", "ward/holder/child", "ward/holder/keep", "ward/holder/lifeline", "ward/holder/link",
	"ward/image", "ward/kernel", "ward/monitor", "ward/monitor/admin", "ward/objects",
	"github.com/cilium/ebpf", // loads maps and programs
	"golang.org/x/net/bpf",   // classic filters: instructions, and their encoding
	"golang.org/x/sys/unix",  // system calls
}

// forbidden are parts of the standard library and others that would show that
// the privileged side does more than it should. (os/exec and encoding/xml are
// there all the same: cilium/ebpf v0.22 imports a helper of its tests.)
var forbidden = []string{"net", "plugin", "text/template", "html", "database", "crypto/tls", "encoding/gob",
	"cedar-go", "goccy", "yaml", "google.golang.org/grpc", "google.golang.org/protobuf", "protocompile", "protovalidate", "cobra", "pflag",
	"ward/policy", "ward/system", "ward/interfaces", "ward/compile", "ward/gate", "ward/names"}

// harmless are parts of what is forbidden that do nothing with it: net/netip
// is the type of an address, without sockets and resolvers.
var harmless = []string{"net/netip"}

func TestDependencies(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("needs the go command: lists what wardd is made of")
	}
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}x {{end}}{{.ImportPath}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		path, foreign := strings.CutPrefix(strings.TrimSpace(line), "x ")
		if foreign && !under(path, allowed) {
			t.Errorf("wardd depends on %s, which is not on the list of what may run as root", path)
		}
		if slices.Contains(harmless, path) {
			continue
		}
		for _, f := range forbidden {
			if path == f || strings.Contains(path, f) && strings.ContainsAny(f, "./-") || strings.HasPrefix(path, f+"/") {
				t.Errorf("wardd depends on %s", path)
			}
		}
	}
}

func under(path string, list []string) bool {
	for _, a := range list {
		if path == a || strings.HasPrefix(path, a+"/") {
			return true
		}
	}
	return false
}
