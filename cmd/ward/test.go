package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"ward/cases"
	"ward/compile"
	"ward/diag"
)

// confinedTest is the confined child of `ward test`: it compiles the system,
// reads the tests and judges them. None of that needs a kernel.
const confinedTest = "confined-test"

// tested is its answer.
type tested struct {
	Findings diag.List      `json:"findings,omitempty"`
	Files    []string       `json:"files,omitempty"`
	Report   *cases.Report  `json:"report,omitempty"`  // nil if a finding is an error
	Written  *cases.Written `json:"written,omitempty"` // of --from-audit
	Bad      int            `json:"bad,omitempty"`     // lines of the audit file that are no records
}

func newTest() *cobra.Command {
	var verbose, coverage bool
	var pattern, junit, fromAudit string
	cmd := &cobra.Command{
		Use:   "test DIR",
		Short: "Run the policy tests of a system directory",
		Long: `Run the policy tests of a system directory: the files *_test.yaml beside system.yaml.
Each test is proven for all values of the arguments that it leaves out, or fails with
an example. Nothing is started; the compiled policy is asked.

With --from-audit it writes tests instead: one case for each different message,
publication, start, kind of child, delegation and right to an object of an audit file
(audit.jsonl, or what ward audit --json and ward up --json print), each of which passes now.

	ward audit --json | ward test DIR --from-audit - >DIR/recorded_test.yaml

Exit status: 0 all passed; 1 a test failed; 2 the system or a test is not well-formed.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: oneDirectory,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := regexp.Compile(pattern); err != nil {
				return badInput("--run: %w", err)
			}
			dir := args[0]
			if fromAudit != "" {
				return writeCases(cmd, dir, fromAudit)
			}
			t := new(tested)
			if err := runConfined(cmd.Context(), dir, t, confinedTest, pattern); err != nil {
				return err
			}
			findings := cmd.ErrOrStderr()
			if wantJSON(cmd) {
				findings = cmd.OutOrStdout()
			}
			printFindings(findings, dir, t.Findings, wantJSON(cmd))
			if t.Findings.Failed() || t.Report == nil {
				return &exitError{status: exitInput}
			}
			if junit != "" {
				if err := writeJUnit(junit, dir, t.Report); err != nil {
					return failed("%w", err)
				}
			}
			p := &testPrinter{out: bufio.NewWriter(cmd.OutOrStdout()), dir: dir, style: styleFor(cmd.OutOrStdout()), verbose: verbose, coverage: coverage}
			if wantJSON(cmd) {
				p.json(t.Report)
			} else {
				p.text(t)
			}
			if err := p.out.Flush(); err != nil {
				return failed("%w", err)
			}
			if failures(t.Report) > 0 {
				return &exitError{status: exitFailed}
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show the tests that pass, too")
	cmd.Flags().StringVar(&pattern, "run", "", "run only the tests whose name matches this regular expression")
	cmd.Flags().StringVar(&junit, "junit", "", "write the results as JUnit XML to this file, too")
	cmd.Flags().StringVar(&fromAudit, "from-audit", "", "write cases from what this audit `file` says happened (-: standard input)")
	flagWords(cmd, "junit", file)
	flagWords(cmd, "from-audit", file)
	cmd.Flags().BoolVar(&coverage, "coverage", false, "list the policies and methods that no test touched")
	return cmd
}

func newConfinedTest() *cobra.Command {
	return &cobra.Command{
		Use: confinedTest, Hidden: true, Args: cobra.ExactArgs(1),
		Short: "Run the policy tests of the archive on standard input (the confined child of test)",
		RunE: func(_ *cobra.Command, args []string) error {
			if _, err := confine(); err != nil {
				return failed("confine the compiler: %w", err)
			}
			files, err := unpackDirectory(os.Stdin)
			if err != nil {
				return badInput("archive: %w", err)
			}
			name, err := regexp.Compile(args[0])
			if err != nil {
				return badInput("%w", err)
			}
			var answer tested
			result, findings := compile.Dir(files)
			if recorded, err := fs.ReadFile(files, auditInput); err == nil {
				if answer.Findings = findings; result.Image != nil && !findings.Failed() {
					answer.Written, answer.Bad = casesFrom(result, recorded)
				}
				return send(answer)
			}
			if result.Image != nil && !findings.Failed() {
				suite, more := cases.Load(files, result.Image, result.Set)
				findings = more // those of the system are `ward check`'s to tell, unless they stop it
				if answer.Files = suite.Files; !more.Failed() {
					answer.Report = suite.Run(name.MatchString)
				}
			}
			answer.Findings = findings
			return send(answer)
		},
	}
}

// send writes the answer of a confined child.
func send(answer any) error {
	out := bufio.NewWriter(os.Stdout)
	if err := errors.Join(json.NewEncoder(out).Encode(answer), out.Flush()); err != nil {
		return failed("%w", err)
	}
	return nil
}

func failures(r *cases.Report) int {
	n := 0
	for _, t := range r.Results {
		if len(t.Failures) > 0 {
			n++
		}
	}
	return n
}

// testPrinter prints a report the way `go test` does.
type testPrinter struct {
	out               *bufio.Writer
	dir               string
	style             style
	verbose, coverage bool
}

func (p *testPrinter) place(at diag.Pos) string {
	return fmt.Sprintf("%s:%d", filepath.Join(p.dir, at.File), at.Line)
}

func (p *testPrinter) text(t *tested) {
	r := t.Report
	for _, c := range r.Results {
		switch {
		case len(c.Failures) > 0:
			fmt.Fprintf(p.out, "%s %s (%s)\n", p.style.bad("--- FAIL:"), c.Name, p.place(c.Pos))
		case p.verbose:
			fmt.Fprintf(p.out, "%s %s (%s)\n", p.style.good("--- PASS:"), c.Name, p.place(c.Pos))
		}
		for _, f := range c.Failures {
			fmt.Fprintln(p.out, "    "+strings.ReplaceAll(f, "\n\t", "\n        "))
		}
		for _, n := range c.Notes {
			if p.verbose {
				fmt.Fprintln(p.out, "    "+n)
			}
		}
	}
	policies, methods := r.Policies-len(r.PoliciesUntested), r.Methods-len(r.MethodsUntested)
	covered := fmt.Sprintf("coverage: %d of %s, %d of %s", policies, count(r.Policies, "polic|y|ies"), methods, count(r.Methods, "method"))
	switch n := failures(r); {
	case len(t.Files) == 0:
		fmt.Fprintf(p.out, "?    %s  no test files (*%s)\n", p.dir, cases.Suffix)
		return
	case n > 0:
		fmt.Fprintf(p.out, "%s %s  %s, %d failed  %s\n", p.style.bad("FAIL"), p.dir, count(len(r.Results), "case"), n, covered)
	default:
		fmt.Fprintf(p.out, "%s   %s  %s  %s\n", p.style.good("ok"), p.dir, count(len(r.Results), "case"), covered)
	}
	if p.coverage {
		for _, id := range r.PoliciesUntested {
			fmt.Fprintf(p.out, "no test touches policy %q\n", id)
		}
		for _, m := range r.MethodsUntested {
			fmt.Fprintf(p.out, "no test touches method %s\n", m)
		}
	}
}

// json prints a line for each test. Maps of text and numbers always encode,
// and a failure to write comes out of Flush.
func (p *testPrinter) json(r *cases.Report) {
	e := json.NewEncoder(p.out)
	for _, c := range r.Results {
		line := map[string]any{"event": "test", "name": c.Name, "file": filepath.Join(p.dir, c.Pos.File), "line": c.Pos.Line, "result": "pass"}
		if len(c.Failures) > 0 {
			line["result"], line["failures"] = "fail", c.Failures
		}
		if len(c.Notes) > 0 {
			line["notes"] = c.Notes
		}
		_ = e.Encode(line)
	}
	_ = e.Encode(map[string]any{"event": "tested", "cases": len(r.Results), "failed": failures(r),
		"policies": r.Policies, "policies_untested": r.PoliciesUntested, "methods": r.Methods, "methods_untested": r.MethodsUntested})
}

// The elements of JUnit's XML that continuous integration systems read.
type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	File    string        `xml:"file,attr"`
	Line    int           `xml:"line,attr"`
	Failure *junitFailure `xml:"failure,omitempty"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

func writeJUnit(file, dir string, r *cases.Report) error {
	s := junitSuite{Name: dir, Tests: len(r.Results), Failures: failures(r)}
	for _, c := range r.Results {
		j := junitCase{Class: strings.TrimSuffix(c.Pos.File, ".yaml"), Name: c.Name, File: filepath.Join(dir, c.Pos.File), Line: c.Pos.Line}
		if len(c.Failures) > 0 {
			first, _, _ := strings.Cut(c.Failures[0], "\n")
			j.Failure = &junitFailure{first, strings.Join(c.Failures, "\n")}
		}
		s.Cases = append(s.Cases, j)
	}
	var b bytes.Buffer
	b.WriteString(xml.Header)
	e := xml.NewEncoder(&b)
	e.Indent("", "  ")
	if err := e.Encode(s); err != nil {
		return err
	}
	b.WriteByte('\n')
	return os.WriteFile(file, b.Bytes(), 0o644)
}
