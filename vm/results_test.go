package main

import (
	"bytes"
	"strings"
	"testing"
)

const console = `[?7l[2Jward-vm: begin ward doctor
kernel 6.1
ward-vm: end ward doctor ok 0.4s
ward-vm: begin tests of creator
=== RUN   TestGood
    good_test.go:7: as it should be
--- PASS: TestGood (0.00s)
=== RUN   TestBad
=== RUN   TestBad/one
    bad_test.go:24: no such file
=== RUN   TestBad/two
--- FAIL: TestBad (0.20s)
    --- FAIL: TestBad/one (0.10s)
    --- PASS: TestBad/two (0.10s)
=== RUN   TestNot
    not_test.go:3: needs the host
--- SKIP: TestNot (0.00s)
FAIL
ward-vm: end tests of creator exit status 1 103.0s
ward-vm: begin tests of monitor
=== RUN   TestLong
    long_test.go:1: begins
`

// TestResults: what failed is told with its name and its words, and so is what
// never ended.
func TestResults(t *testing.T) {
	failed := []string{
		"tests of creator             exit status 1 103.0s, 5 tests\n",
		"skipped in the guest: TestNot: needs the host\n",
		"\nfailed in the guest: tests of creator: TestBad/one\n      bad_test.go:24: no such file\n",
	}
	for _, c := range []struct {
		name, more, err string
		wants           []string
	}{
		{"all steps end", "--- PASS: TestLong (9.00s)\nPASS\nward-vm: end tests of monitor ok 9.0s, 1 tests\nward-vm: done 1 failed\n",
			"failed in the guest: tests of creator", failed},
		{"a step is ended", "panic: test timed out\nward-vm: end tests of monitor ended after 1s 1.0s\nward-vm: done 2 failed\n",
			"failed in the guest: tests of creator, tests of monitor",
			append(failed, "failed in the guest: tests of monitor: ended while TestLong ran\n", "  panic: test timed out\n")},
		{"the guest is ended", "", "the guest ended before its plan did",
			append(failed, "failed in the guest: tests of monitor: ended while TestLong ran\n", "long_test.go:1: begins\n")},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			r := results{to: &out}
			for line := range strings.Lines(console + c.more) {
				r.line(strings.TrimSuffix(line, "\n"))
			}
			if err := r.close(); err == nil || err.Error() != c.err {
				t.Errorf("error %v, want %s", err, c.err)
			}
			for _, w := range c.wants {
				if !strings.Contains(out.String(), w) {
					t.Errorf("no %q in:\n%s", w, &out)
				}
			}
			if strings.Contains(out.String(), "as it should be") {
				t.Errorf("what went well is told:\n%s", &out)
			}
		})
	}
}
