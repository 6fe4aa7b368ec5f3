// Mutate breaks the compiler and the filter, one way at a time, in a copy of
// the tree, and runs the tests there: each must catch it.
//
//	go run ./internal/mutate [-run REGEXP] [-in REGEXP] [-list] [-from N] [-jobs N] [-sure] [-table FILE]
//
// What a mutation is worth shows in who catches it: the tests named for each
// exercise what the code does, on a kernel or against Cedar. Golden files of
// generated instructions, which any change would upset, are not among them.
//
// Exit status: 0 if every mutation was caught, 1 if one survived, 2 if the
// tree itself fails its tests, or a mutation no longer fits the code.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A mutation is one wrong edit of one file.
type mutation struct {
	what     string
	file     string
	old, new string // old stands in the file once
	tests    string // key of suites; empty: that of the file
}

// A suite is tests that look at the same code: packages, and which of their
// tests. They run in order, until one fails.
type suite []struct{ pkg, run string }

func main() {
	only := flag.String("run", "", "only mutations whose description matches this `regexp`")
	in := flag.String("in", "", "only mutations of files that match this `regexp`: of those that have changed")
	list := flag.Bool("list", false, "print the mutations and end")
	from := flag.Int("from", 1, "begin with this one of them")
	jobs := flag.Int("jobs", 2, "mutations that are tried at the same time, each in a copy of the tree")
	sure := flag.Bool("sure", false, "do not run the tests without any mutation first")
	table := flag.String("table", "", "write a table of which test caught which mutation, in Markdown, into this `file`")
	flag.Parse()
	match, err := regexp.Compile(*only)
	if err != nil {
		exit(err)
	}
	files, err := regexp.Compile(*in)
	if err != nil {
		exit(err)
	}
	var chosen []mutation
	for _, m := range mutations {
		if match.MatchString(m.what) && files.MatchString(m.file) {
			chosen = append(chosen, m)
		}
	}
	chosen = chosen[min(max(*from-1, 0), len(chosen)):]
	if *list {
		for _, m := range chosen {
			fmt.Printf("%-60s %s\n", m.what, m.file)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	results, err := run(ctx, chosen, max(*jobs, 1), *sure)
	if err != nil {
		exit(err)
	}
	if *table != "" {
		if err := os.WriteFile(*table, tableOf(results), 0o644); err != nil {
			exit(err)
		}
	}
	survived := 0
	for _, r := range results {
		if r.caught == "" {
			survived++
			fmt.Println("SURVIVED", r.what)
		}
	}
	fmt.Printf("%d mutations, %d caught, %d survived\n", len(results), len(results)-survived, survived)
	if survived > 0 {
		os.Exit(1)
	}
}

func exit(err error) {
	fmt.Fprintln(os.Stderr, "mutate:", err)
	os.Exit(2)
}

// A result is what became of a mutation.
type result struct {
	*mutation
	caught string // package and test; empty: by none
}

// run tries the mutations in as many copies of the tree as there are jobs.
func run(ctx context.Context, chosen []mutation, jobs int, sure bool) ([]result, error) {
	top, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(top)
	var dirs []string
	for i := range jobs {
		dirs = append(dirs, filepath.Join(top, fmt.Sprint(i)))
		if err := copyTree(ctx, dirs[i]); err != nil {
			return nil, err
		}
	}
	if !sure {
		if err := baseline(ctx, dirs[0], chosen); err != nil {
			return nil, err
		}
	}
	var mu sync.Mutex
	var failed error
	results := make([]result, len(chosen))
	var next atomic.Int64
	var wg sync.WaitGroup
	for _, dir := range dirs {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(chosen) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				m := &chosen[i]
				begin := time.Now()
				by, err := try(ctx, dir, m)
				if ctx.Err() != nil {
					return
				}
				if err != nil { // the others are still worth trying
					mu.Lock()
					failed = errors.Join(failed, fmt.Errorf("%s (%s): %w", m.what, m.file, err))
					mu.Unlock()
				}
				results[i] = result{m, by}
				outcome := "caught by " + by
				if by == "" {
					outcome = "SURVIVED"
				}
				fmt.Printf("%3d/%d  %-60s %s (%.0f s)\n", i+1, len(chosen), m.what, outcome, time.Since(begin).Seconds())
			}
		})
	}
	wg.Wait()
	return results, errors.Join(failed, ctx.Err())
}

// tableOf is the results in Markdown.
func tableOf(results []result) []byte {
	var b bytes.Buffer
	b.WriteString("| mutation | in | caught by |\n|---|---|---|\n")
	for _, r := range results {
		by := r.caught
		if by == "" {
			by = "**nothing**"
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s |\n", strings.ReplaceAll(r.what, "|", "\\|"), r.file, by)
	}
	return b.Bytes()
}

// copyTree copies what git knows of, as it stands in the working tree.
func copyTree(ctx context.Context, to string) error {
	out, err := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return fmt.Errorf("list the files of the tree: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		info, err := os.Stat(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted, not yet committed
		}
		if err != nil {
			return err
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(to, filepath.Dir(name)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, name), b, info.Mode().Perm()); err != nil {
			return err
		}
	}
	return nil
}

// suiteOf is what must catch m.
func suiteOf(m *mutation) (suite, error) {
	key := m.tests
	if key == "" {
		key = strings.SplitN(m.file, "/", 2)[0]
	}
	s, ok := suites[key]
	if !ok {
		return nil, fmt.Errorf("no tests are named for %s", key)
	}
	return s, nil
}

// baseline runs every suite on the tree as it is: they must pass.
func baseline(ctx context.Context, dir string, chosen []mutation) error {
	seen := map[string]bool{}
	for i := range chosen {
		s, err := suiteOf(&chosen[i])
		if err != nil {
			return err
		}
		for _, t := range s {
			if seen[t.pkg+t.run] {
				continue
			}
			seen[t.pkg+t.run] = true
			failed, _, err := test(ctx, dir, t.pkg, t.run)
			if err != nil {
				return err
			}
			if failed != "" {
				return fmt.Errorf("%s fails %s without any mutation", t.pkg, failed)
			}
		}
	}
	return nil
}

// try makes the mutation, and says which test caught it, if one did.
func try(ctx context.Context, dir string, m *mutation) (caught string, err error) {
	s, err := suiteOf(m)
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, m.file)
	was, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	if n := bytes.Count(was, []byte(m.old)); n != 1 {
		return "", fmt.Errorf("the text to change stands there %d times, not once", n)
	}
	is := bytes.Replace(was, []byte(m.old), []byte(m.new), 1)
	if err := os.WriteFile(file, is, 0o644); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.WriteFile(file, was, 0o644)) }()
	if strings.HasPrefix(m.file, "filter/bpf/") {
		object := filepath.Join(dir, "filter/bpf/gate.bpf.o")
		old, err := os.ReadFile(object)
		if err != nil {
			return "", err
		}
		defer os.WriteFile(object, old, 0o644)
		build := exec.CommandContext(ctx, "sh", filepath.Join(dir, "filter/bpf/build.sh"))
		if _, err := exec.LookPath("clang-14"); err == nil {
			build.Env = append(os.Environ(), "CLANG=clang-14", "STRIP=llvm-strip-14")
		}
		if out, err := build.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build the object: %w\n%s", err, out)
		}
	}
	for _, t := range s {
		failed, built, err := test(ctx, dir, t.pkg, t.run)
		switch {
		case err != nil:
			return "", err
		case !built:
			return "", fmt.Errorf("%s does not build with it", t.pkg)
		case failed != "":
			return t.pkg + " " + failed, nil
		}
	}
	return "", nil
}

var failedTest = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

// test runs tests of a package. It names the first that failed, if one did.
func test(ctx context.Context, dir, pkg, run string) (failed string, built bool, err error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-failfast", "-timeout=5m", "-run", run, "./"+pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "WARD_DIFF_MESSAGES=20000", "WARD_DIFF_SEED=1")
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return "", true, ctx.Err()
	}
	var exited *exec.ExitError
	switch {
	case err == nil:
		if bytes.Contains(out, []byte("no tests to run")) {
			return "", true, fmt.Errorf("%s has no tests that match %s", pkg, run)
		}
		return "", true, nil
	case !errors.As(err, &exited):
		return "", true, err
	case bytes.Contains(out, []byte("[build failed]")) || bytes.Contains(out, []byte("[setup failed]")):
		return "", false, nil
	}
	if m := failedTest.FindAllSubmatch(out, -1); m != nil {
		return string(m[len(m)-1][1]), true, nil
	}
	if bytes.Contains(out, []byte("panic:")) {
		return "(a panic)", true, nil
	}
	return "", true, fmt.Errorf("go test %s: %w\n%s", pkg, err, out)
}
