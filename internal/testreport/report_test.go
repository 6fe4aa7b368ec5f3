package main

import (
	"bytes"
	"strings"
	"testing"
)

// skipped is the output of a test that was skipped for a reason.
func skipped(reason string) string {
	return `{"Action":"pass","Package":"p","Test":"TestGood"}
{"Action":"output","Package":"p","Test":"TestX","Output":"    x_test.go:7: ` + reason + `\n"}
{"Action":"skip","Package":"p","Test":"TestX"}
{"Action":"pass","Package":"p","Elapsed":1}
`
}

func TestSkips(t *testing.T) {
	for _, c := range []struct {
		name, reason string
		root, well   bool
	}{
		{"no root", "needs root: attaches filters", false, true},
		{"root after all", "needs root: attaches filters", true, false},
		{"an older kernel", "needs Linux 6.16: SO_PASSRIGHTS", true, true},
		{"a kernel that has it", "needs Linux 6.12: something", true, false},
		{"the minimum kernel", "needs Linux 6.1: mmapable maps", true, false},
		{"a program", "needs bwrap: compared with it", true, true},
		{"no reason", "not today", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			r := newReport(&out, c.root, "6.12.3-generic")
			if err := r.read(strings.NewReader(skipped(c.reason))); err != nil {
				t.Fatal(err)
			}
			if well := r.close(); well != c.well {
				t.Errorf("well is %v, want %v\n%s", well, c.well, &out)
			}
			if !strings.Contains(out.String(), c.reason) {
				t.Errorf("the reason is not shown\n%s", &out)
			}
		})
	}
}

func TestFailures(t *testing.T) {
	for name, events := range map[string]string{
		"test":  `{"Action":"output","Package":"p","Test":"TestX","Output":"boom\n"}{"Action":"fail","Package":"p","Test":"TestX"}{"Action":"fail","Package":"p"}`,
		"build": `{"Action":"build-output","ImportPath":"p","Output":"boom\n"}{"Action":"fail","Package":"p","FailedBuild":"p"}`,
		"panic": `{"Action":"output","Package":"p","Output":"boom\n"}{"Action":"fail","Package":"p"}`,
	} {
		var out bytes.Buffer
		r := newReport(&out, true, "6.12")
		if err := r.read(strings.NewReader(`{"Action":"pass","Package":"q","Test":"TestGood"}` + events)); err != nil {
			t.Fatal(err)
		}
		if r.close() {
			t.Errorf("%s: a failure was not noticed", name)
		}
		if !strings.Contains(out.String(), "boom") || !strings.Contains(out.String(), "1 passed, 1 failed, 0 skipped") {
			t.Errorf("%s: got\n%s", name, &out)
		}
	}
}

// Nothing tested is no success.
func TestNothing(t *testing.T) {
	if newReport(new(bytes.Buffer), true, "6.12").close() {
		t.Error("a run without tests is well")
	}
}
