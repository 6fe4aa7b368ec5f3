package main

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"ward/vm/internal/plan"
)

func main() {
	image := flag.String("kernel", "", "kernel image to boot (default: fetch Debian's 6.1 cloud kernel)")
	verbose := flag.Bool("v", false, "print the whole console")
	limit := flag.Duration("timeout", 40*time.Minute, "end the guest after this long")
	only := flag.String("rooms", strings.Join(rooms, ","), "rooms whose tests run")
	flag.Parse()
	rooms = strings.FieldsFunc(*only, func(r rune) bool { return r == ',' })
	if err := test(*image, *limit, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		os.Exit(1)
	}
}

func test(image string, limit time.Duration, verbose bool) error {
	top, err := os.Getwd()
	if err != nil {
		return err
	}
	out := filepath.Join(top, "build/vm")
	for _, dir := range []string{"bin", "tests"} {
		if err := os.MkdirAll(filepath.Join(out, dir), 0o755); err != nil {
			return err
		}
	}
	var drivers []file
	if image == "" {
		if image, err = kernel(out); err != nil {
			return err
		}
		if drivers, err = moduleFiles(out); err != nil {
			return err
		}
	}
	files, steps, err := build(top, out)
	if err != nil {
		return err
	}
	files = append(files, drivers...)
	text, err := json.MarshalIndent(steps, "", "\t")
	if err != nil {
		return err
	}
	files = append(files, file{path: plan.Path, data: text, mode: 0o444},
		file{path: "/etc/passwd", data: []byte("root:x:0:0::/:/bin/sh\ndaemon:x:1:1::/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"), mode: 0o644},
		file{path: "/etc/group", data: []byte("root:x:0:\ndaemon:x:1:\nalice:x:1000:\nnogroup:x:65534:\n"), mode: 0o644})
	disk := filepath.Join(out, "initrd.gz")
	if err := writeDisk(disk, files); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(out, "console.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	fmt.Printf("booting %s with %d files, %d steps; console in build/vm/console.log\n", filepath.Base(image), len(files), len(steps))
	r := results{verbose: verbose}
	if err := boot(image, disk, limit, func(s string) { fmt.Fprintln(log, s); r.line(s) }); err != nil {
		return err
	}
	return r.close()
}

func writeDisk(path string, files []file) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return err
	}
	return errors.Join(writeArchive(z, files), z.Close())
}

func eachLine(r io.Reader, line func(string)) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		line(strings.TrimRight(s.Text(), "\r"))
	}
}

// results reads the console: it prints what a person wants to see of it, and
// knows at the end whether all went well.
type results struct {
	verbose bool
	step    string
	current []string // output of the step
	passed  int      // tests
	skipped []string
	failed  []string
	done    bool
}

var (
	testLine = regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP): (\S+)`)
	reason   = regexp.MustCompile(`^\s+\S+_test\.go:\d+: (.*)`)
)

func (r *results) line(s string) {
	if r.verbose {
		fmt.Println(s)
	}
	// The firmware leaves control characters on the first line.
	_, event, own := strings.Cut(s, plan.Mark)
	switch {
	case !own:
		r.output(s)
	case strings.HasPrefix(event, "begin "):
		r.step, r.current = strings.TrimPrefix(event, "begin "), nil
	case strings.HasPrefix(event, "end "):
		how := strings.TrimPrefix(event, "end "+r.step+" ")
		fmt.Printf("%-28s %s\n", r.step, how)
		if strings.HasPrefix(how, "ok") {
			break
		}
		r.failed = append(r.failed, r.step)
		if !r.verbose {
			fmt.Println(strings.Join(r.current[max(0, len(r.current)-80):], "\n"))
		}
	case strings.HasPrefix(event, "done"):
		r.done = true
	}
}

func (r *results) output(s string) {
	r.current = append(r.current, s)
	if !strings.HasPrefix(r.step, "tests of ") && r.step != "" && !r.verbose {
		fmt.Println("  " + s)
	}
	m := testLine.FindStringSubmatch(s)
	switch {
	case m == nil:
	case m[1] == "PASS":
		r.passed++
	case m[1] == "SKIP":
		why := "no reason given"
		if n := len(r.current); n > 1 {
			if p := reason.FindStringSubmatch(r.current[n-2]); p != nil {
				why = p[1]
			}
		}
		r.skipped = append(r.skipped, m[2]+": "+why)
	}
}

func (r *results) close() error {
	for _, s := range r.skipped {
		fmt.Println("skipped in the guest:", s)
	}
	switch {
	case !r.done:
		return errors.New("the guest ended before its plan did; see build/vm/console.log")
	case len(r.failed) > 0:
		return fmt.Errorf("failed in the guest: %s", strings.Join(r.failed, ", "))
	}
	fmt.Printf("vm: the demo and %d tests passed on 6.1, %d skipped\n", r.passed, len(r.skipped))
	return nil
}
