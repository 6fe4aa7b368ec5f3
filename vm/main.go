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
	"strings"
	"time"

	"ward/vm/internal/plan"
)

func main() {
	image := flag.String("kernel", "", "kernel image to boot (default: fetch Debian's 6.1 cloud kernel)")
	verbose := flag.Bool("v", false, "print the whole console")
	limit := flag.Duration("timeout", 4*time.Hour, "end the guest after this long")
	only := flag.String("rooms", strings.Join(rooms, ","), "rooms whose tests run")
	flag.StringVar(&pattern, "run", "", "of these, only tests whose name matches this `pattern` (as of go test)")
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
	programs, err := hostFiles()
	if err != nil {
		return err
	}
	// Links come first: what is below one would make a directory in its place.
	files = append(append(programs, files...), drivers...)
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
	fmt.Printf("booting %s with %d files, %d steps; all that the guest says: %s\n", filepath.Base(image), len(files), len(steps), log.Name())
	r := results{to: os.Stdout, verbose: verbose}
	err = boot(image, disk, limit, func(s string) { fmt.Fprintln(log, s); r.line(s) }, r.progress)
	if err = errors.Join(r.close(), err); err != nil {
		return fmt.Errorf("%w (the whole console: %s)", err, log.Name())
	}
	return nil
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

// tellEvery is how often the progress of the guest is told.
const tellEvery = 30 * time.Second

// eachLine calls line for every line of r until it ends, and progress now and
// then, both from this goroutine.
func eachLine(r io.Reader, line func(string), progress func()) {
	lines := make(chan string)
	go func() {
		defer close(lines)
		s := bufio.NewScanner(r)
		s.Buffer(nil, 1<<20)
		for s.Scan() {
			lines <- strings.TrimRight(s.Text(), "\r")
		}
	}()
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for {
		select {
		case s, more := <-lines:
			if !more {
				return
			}
			line(s)
		case <-tick.C:
			progress()
		}
	}
}
