package main

import (
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// A report collects events and prints them in short.
type report struct {
	out     io.Writer
	root    bool                // this run has root
	release string              // of the kernel
	output  map[string][]string // by package and test
	passed  int
	skipped []string
	failed  []string
	details []string // output of what failed
}

func newReport(out io.Writer, root bool, release string) *report {
	return &report{out: out, root: root, release: release, output: map[string][]string{}}
}

func (r *report) event(e *event) {
	key := e.Package + e.ImportPath + " " + e.Test
	switch e.Action {
	case "output", "build-output":
		r.output[key] = append(r.output[key], e.Output)
		return
	case "pass":
		if e.Test != "" {
			r.passed++
		} else {
			fmt.Fprintf(r.out, "ok    %-32s %6.1fs\n", e.Package, e.Elapsed)
		}
	case "skip":
		if e.Test != "" {
			r.skip(e, r.output[key])
		}
	case "fail":
		r.fail(e, key)
	default:
		return
	}
	delete(r.output, key)
}

func (r *report) fail(e *event, key string) {
	name := strings.TrimSpace(e.Package + " " + e.Test)
	text := strings.Join(r.output[key], "")
	if e.Test == "" {
		fmt.Fprintf(r.out, "FAIL  %-32s %6.1fs\n", e.Package, e.Elapsed)
		if e.FailedBuild != "" {
			text += strings.Join(r.output[e.FailedBuild+" "], "")
		}
		// The package fails since a test of it did; that is told there.
		for _, f := range r.failed {
			if strings.HasPrefix(f, e.Package+" ") {
				return
			}
		}
	}
	r.failed = append(r.failed, name)
	r.details = append(r.details, "--- "+name+"\n"+text)
}

var (
	place = regexp.MustCompile(`^\s*\S+\.go:\d+: `)
	linux = regexp.MustCompile(`^needs Linux (\d+)\.(\d+)\b`)
)

// skip files a skip under its reason, or as a failure.
func (r *report) skip(e *event, output []string) {
	reason := ""
	for _, line := range output {
		if at := place.FindString(line); at != "" {
			reason = strings.TrimSpace(strings.TrimPrefix(line, at))
		}
	}
	name := e.Package + " " + e.Test
	if why := r.unjustified(reason); why != "" {
		r.failed = append(r.failed, name)
		r.details = append(r.details, fmt.Sprintf("--- %s\n    skipped (%q), but %s\n", name, reason, why))
		return
	}
	r.skipped = append(r.skipped, name+": "+reason)
}

// unjustified says why a test should not have been skipped; "" if it may be.
func (r *report) unjustified(reason string) string {
	switch {
	case !strings.HasPrefix(reason, "needs "):
		return `a skip must say what it needs: t.Skip("needs ...")`
	case strings.HasPrefix(reason, "needs root") && r.root:
		return "this run has root"
	}
	if m := linux.FindStringSubmatch(reason); m != nil && !older(r.release, m[1], m[2]) {
		return "the kernel here is " + r.release
	}
	return ""
}

// older reports whether the kernel release is before major.minor. A release
// that cannot be read is not.
func older(release, major, minor string) bool {
	var have [2]int
	if n, _ := fmt.Sscanf(release, "%d.%d", &have[0], &have[1]); n != 2 {
		return false
	}
	a, _ := strconv.Atoi(major)
	b, _ := strconv.Atoi(minor)
	return have[0] < a || have[0] == a && have[1] < b
}

// close prints what was collected and reports whether all is well.
func (r *report) close() bool {
	for _, d := range r.details {
		fmt.Fprintln(r.out, d)
	}
	for _, f := range r.failed {
		fmt.Fprintln(r.out, "failed: ", f)
	}
	for _, s := range r.skipped {
		fmt.Fprintln(r.out, "skipped:", s)
	}
	fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped\n", r.passed, len(r.failed), len(r.skipped))
	return len(r.failed) == 0 && r.passed > 0
}
