package repotest

import (
	"slices"
	"strings"
	"testing"
)

// pure lists what a room without side effects must not import.
var pure = []string{"os", "net", "syscall", "unsafe", "os/exec", "golang.org/x/sys/unix", "time"}

// rooms states what the production code of each room may import of this
// module, and what it must not import at all. A room that is not listed may
// import any room but cmd.
var rooms = map[string]struct {
	may  []string // rooms; nil: none
	deny []string
	only []string // if not nil: the only packages outside this module and the standard library
}{
	"abi":                    {deny: pure, only: []string{}},
	"diag":                   {deny: pure, only: []string{}},
	"image":                  {may: []string{"abi"}, deny: pure, only: []string{}},
	"filter":                 {may: []string{"abi", "image"}, deny: pure, only: []string{"github.com/cilium/ebpf/asm", "golang.org/x/net/bpf"}},
	"system":                 {may: []string{"abi", "diag", "internal/yamltext", "ring"}, deny: pure},
	"ring":                   {deny: pure, only: []string{}},
	"internal/yamltext":      {may: []string{"diag"}, deny: pure},
	"interfaces":             {may: []string{"abi", "diag", "image", "proto", "system"}, deny: pure},
	"policy":                 {may: []string{"abi", "diag", "image", "interfaces", "system"}, deny: pure},
	"policy/eval":            {may: []string{"abi", "image"}, deny: pure},
	"policy/prove":           {may: []string{"abi", "image", "policy/eval"}, deny: pure, only: []string{}},
	"policy/internal/syntax": {may: []string{"diag"}, deny: pure, only: []string{}},
	"policy/internal/cedar":  {may: []string{"policy/internal/syntax"}, deny: pure},
	"compile":                {may: []string{"abi", "diag", "image", "interfaces", "models", "policy", "system"}, deny: []string{"net", "syscall", "unsafe"}},
	"models":                 {may: []string{"diag", "image", "interfaces", "ring", "system"}, deny: pure, only: []string{}},
	"graph":                  {may: []string{"abi", "image"}, deny: pure, only: []string{}},
	"cases":                  {may: []string{"abi", "diag", "image", "interfaces", "internal/yamltext", "policy/eval", "policy/prove", "system"}, deny: pure},
	"explain":                {may: []string{"abi", "cases", "diag", "image", "interfaces", "policy", "policy/eval", "policy/prove"}, deny: pure},
	"lint":                   {may: []string{"abi", "diag", "image", "interfaces", "policy", "policy/prove", "system"}, deny: pure},
	"compare":                {may: []string{"abi", "filter", "image", "policy/eval", "policy/prove"}, deny: []string{"os", "net", "syscall", "unsafe", "os/exec", "golang.org/x/sys/unix"}, only: []string{}}, // time: how a rate is written
	"kernel":                 {may: []string{"abi", "image", "filter"}},
	"kernel/confine":         {only: []string{"golang.org/x/sys/unix"}},
	"thread":                 {may: []string{"kernel/confine"}, deny: []string{"net", "unsafe", "os/exec"}, only: []string{"golang.org/x/sys/unix"}},
	"objects":                {may: []string{"abi"}, deny: pure, only: []string{}},
	"difftest":               {only: []string{}}, // nothing but tests
	"gate":                   {may: []string{"abi", "image", "kernel/packet", "kernel/page", "policy/eval"}},
}

func TestImportsOfRooms(t *testing.T) {
	for _, p := range list(t, "./...") {
		name := room(p.ImportPath)
		rule, listed := rooms[name]
		for _, path := range p.Imports {
			to := room(path)
			switch {
			case strings.HasPrefix(to, "cmd/"):
				t.Errorf("%s imports %s: only cmd wires, nothing imports it", name, path)
			case !listed:
			case slices.Contains(rule.deny, path):
				t.Errorf("%s imports %s, which it must not", name, path)
			case strings.HasPrefix(to, name+"/"): // a room may use its own folders
			case to != "" && !slices.Contains(rule.may, to):
				t.Errorf("%s imports room %s; it may import %v", name, to, rule.may)
			case to == "" && rule.only != nil && strings.Contains(path, ".") && !slices.Contains(rule.only, path):
				t.Errorf("%s imports %s; outside the standard library it may import %v", name, path, rule.only)
			}
		}
	}
}

// cedar-go's x/exp packages may change: one package of Ward knows them.
func TestOnePackageUsesCedar(t *testing.T) {
	const home = "policy/internal/cedar"
	for _, p := range list(t, "./...") {
		for _, path := range p.Imports {
			if strings.HasPrefix(path, "github.com/cedar-policy/") && room(p.ImportPath) != home {
				t.Errorf("%s imports %s: only %s may", p.ImportPath, path, home)
			}
		}
	}
}

// The lists above must not go stale: a rule for a room that does not exist
// checks nothing.
func TestRulesNameRooms(t *testing.T) {
	exist := map[string]bool{}
	for _, p := range list(t, "./...") {
		exist[room(p.ImportPath)] = true
	}
	for name := range rooms {
		if !exist[name] {
			t.Errorf("there is a rule for room %q, but no such room", name)
		}
	}
}

// exampleRooms keeps example programs what they are: programs that any user of
// the library could write.
func TestExamplesUseThePublicLibraryOnly(t *testing.T) {
	public := []string{"gate", "gate/grpcgate", "proto/ward/v1"}
	for _, p := range list(t, "./examples/...") {
		for _, path := range p.Imports {
			if to := room(path); to != "" && !strings.HasPrefix(to, "examples/") && !slices.Contains(public, to) {
				t.Errorf("%s imports room %s; examples use %v only", p.ImportPath, to, public)
			}
		}
	}
}
