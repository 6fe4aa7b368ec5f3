package main

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"ward/vm/internal/plan"
)

// results reads the console: it prints what a person wants to see of it, and
// knows at the end what went well, and of what failed its name and its words.
type results struct {
	to      io.Writer
	verbose bool
	began   time.Time // of the step
	step    string
	current []string // output of the step
	tests   *outcome // of the step, nil if it has none
	passed  int      // tests, of all steps
	skipped []string
	failed  []failure
	steps   []string // that failed
	done    bool
}

// A failure is a test or a step that failed, with what it said.
type failure struct {
	name   string
	output []string
}

// outcome follows the tests of a room.
type outcome struct {
	running []string // begun and not ended, the newest last
	at      string   // the test whose output the next lines are
	output  map[string][]string
	ended   int
}

// tail is how many lines of a step are shown that failed without a test that did.
const tail = 80

var (
	startLine = regexp.MustCompile(`^=== (RUN|CONT|NAME|PAUSE)\s+(\S+)`)
	testLine  = regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP): (\S+)`)
	reason    = regexp.MustCompile(`^\s+\S+_test\.go:\d+: (.*)`)
)

// line takes a line of the console.
func (r *results) line(s string) {
	if r.verbose {
		fmt.Fprintln(r.to, s)
	}
	// The firmware leaves control characters on the first line.
	_, event, own := strings.Cut(s, plan.Mark)
	switch {
	case !own:
		r.output(s)
	case strings.HasPrefix(event, "begin "):
		r.step, r.current, r.tests, r.began = strings.TrimPrefix(event, "begin "), nil, nil, time.Now()
		if strings.HasPrefix(r.step, plan.Tests) {
			r.tests = &outcome{output: map[string][]string{}}
		}
	case strings.HasPrefix(event, "end "):
		r.end(strings.TrimPrefix(event, "end "+r.step+" "))
	case strings.HasPrefix(event, "done"):
		r.done = true
	}
}

// end ends a step, how is "ok" or an error, and how long it took.
func (r *results) end(how string) {
	count := ""
	if r.tests != nil {
		count = fmt.Sprintf(", %d tests", r.tests.ended)
	}
	fmt.Fprintf(r.to, "%-28s %s%s\n", r.step, how, count)
	if !strings.HasPrefix(how, "ok") {
		r.steps = append(r.steps, r.step)
		r.unfinished()
	}
	r.step = ""
}

// unfinished notes what a failed step, or one that never ended, was at: the
// test that began last, and what no test said.
func (r *results) unfinished() {
	if r.tests == nil {
		r.failed = append(r.failed, failure{r.step, last(r.current, tail)})
		return
	}
	if n := len(r.tests.running); n > 0 {
		r.failed = append(r.failed, failure{r.step + ": ended while " + r.tests.running[n-1] + " ran", last(r.current, tail)})
	} else {
		r.failed = append(r.failed, failure{r.step, last(r.tests.output[""], tail)})
	}
}

func last(lines []string, n int) []string { return lines[max(0, len(lines)-n):] }

// output takes a line of a step's own.
func (r *results) output(s string) {
	r.current = append(r.current, s)
	if r.tests == nil {
		if r.step != "" && !r.verbose {
			fmt.Fprintln(r.to, "  "+s)
		}
		return
	}
	t := r.tests
	if m := startLine.FindStringSubmatch(s); m != nil {
		if t.at = m[2]; m[1] == "RUN" {
			t.running = append(t.running, t.at)
		}
		return
	}
	m := testLine.FindStringSubmatch(s)
	if m == nil {
		t.output[t.at] = append(t.output[t.at], s)
		return
	}
	name := m[2]
	t.running = slices.DeleteFunc(t.running, func(n string) bool { return n == name })
	t.ended++
	switch m[1] {
	case "PASS":
		r.passed++
	case "SKIP":
		r.skipped = append(r.skipped, name+": "+why(t.output[name]))
	case "FAIL":
		r.failed = append(r.failed, failure{r.step + ": " + name, t.output[name]})
	}
	// What follows is said by the test around it, or by nobody.
	delete(t.output, name)
	t.at = name[:max(0, strings.LastIndexByte(name, '/'))]
}

// why is the last thing that a skipped test said.
func why(output []string) string {
	for _, s := range slices.Backward(output) {
		if p := reason.FindStringSubmatch(s); p != nil {
			return p[1]
		}
	}
	return "no reason given"
}

// progress says what runs.
func (r *results) progress() {
	if r.step == "" || r.verbose {
		return
	}
	what := r.step
	if r.tests != nil {
		what += fmt.Sprintf(": %d tests ended", r.tests.ended)
		if n := len(r.tests.running); n > 0 {
			what += ", " + r.tests.running[n-1] + " runs"
		}
	}
	fmt.Fprintf(r.to, "  ... %s, %.0f s\n", what, time.Since(r.began).Seconds())
}

// close prints what was skipped and what failed, with its output, and returns an
// error unless all is well.
func (r *results) close() error {
	for _, s := range r.skipped {
		fmt.Fprintln(r.to, "skipped in the guest:", s)
	}
	if !r.done && r.step != "" {
		r.steps = append(r.steps, r.step)
		r.unfinished()
	}
	for _, f := range r.failed {
		fmt.Fprintf(r.to, "\nfailed in the guest: %s\n", f.name)
		for _, s := range f.output {
			fmt.Fprintln(r.to, "  "+s)
		}
	}
	switch {
	case !r.done:
		return errors.New("the guest ended before its plan did")
	case len(r.steps) > 0:
		return fmt.Errorf("failed in the guest: %s", strings.Join(r.steps, ", "))
	}
	fmt.Fprintf(r.to, "vm: %d tests passed on 6.1, %d skipped\n", r.passed, len(r.skipped))
	return nil
}
