package creator

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"ward/image"
	"ward/kernel"
	"ward/kernel/probe"
)

// TestAttackSiblingLayers: reaching into another domain of the same user ID, with
// single defences taken away. The namespaces alone refuse all of it. The
// system-call filter alone refuses what is a call of its own, and not files of
// /proc, nor signals, which programs send themselves: those Landlock refuses
// without the namespaces, signals where it has scopes. The control has none of
// the three, and the host's root, and takes effect.
func TestAttackSiblingLayers(t *testing.T) {
	w := newWorld(t, 0, image.Domain{Name: "victim", Program: hostile, Args: []string{"idle"}})
	victim, err := w.start(0)
	if err != nil {
		t.Fatal(err)
	}
	victim.ready(t)
	scopes := slices.ContainsFunc(probe.All(), func(r probe.Result) bool { return r.Name == "Landlock scopes" && r.Answer == probe.Yes })
	const ns, ll = kernel.WithNamespaces, kernel.WithLandlock
	for _, name := range []string{"ptrace", "vmread", "procmem", "pidfdgetfd", "signal", "signalall"} {
		a := attack{name: name, args: []string{strconv.Itoa(victim.PID)}, domain: hostRoot}
		t.Run(name, func(t *testing.T) {
			if out, _ := a.try(t, seccomp|ns|ll|kernel.WithRoot); !strings.HasPrefix(out, "done") {
				t.Fatalf("control: the attack does not work without the defences: %q", out)
			}
			layers := map[string]kernel.Defence{"all": 0, "no filter": seccomp, "the namespaces alone": seccomp | ll}
			if !strings.HasPrefix(name, "signal") && name != "procmem" {
				layers["the filter alone"] = ns | ll
			}
			if !strings.HasPrefix(name, "signal") || scopes {
				layers["no namespaces"] = ns
			}
			for what, without := range layers {
				t.Run(what, func(t *testing.T) { a.check(t, without) })
			}
		})
	}
}
