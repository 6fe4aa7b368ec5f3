// Command testreport reads what `go test -json` prints, shows it in short, and
// ends with every failure, every skip with its reason, and the numbers:
//
//	go test -json ./... | go run ./internal/testreport
//
// A test that cannot run says what it needs: t.Skip("needs root: ..."),
// t.Skip("needs Linux 6.16: ..."), t.Skip("needs bwrap: ..."). A skip fails the
// run if it gives no such reason, or if the need is met here: Ward runs on
// Linux 6.1 and later, so what 6.1 has is never missing.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

func main() {
	var name unix.Utsname
	release := ""
	if err := unix.Uname(&name); err == nil {
		release = unix.ByteSliceToString(name.Release[:])
	}
	r := newReport(os.Stdout, os.Geteuid() == 0, release)
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(2)
	}
	if !r.close() {
		os.Exit(1)
	}
}

// An event is a line of `go test -json` (go doc test2json).
type event struct {
	Action  string
	Package string
	Test    string
	Elapsed float64
	Output  string
	// ImportPath is set instead of Package for output of the build.
	ImportPath  string
	FailedBuild string
}

func (r *report) read(in io.Reader) error {
	for d := json.NewDecoder(in); ; {
		var e event
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("this is not the output of go test -json: %w", err)
		}
		r.event(&e)
	}
}
