package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ward/diag"
	"ward/image"
)

// finding is a diag.Finding as `--json` prints it.
type finding struct {
	Event    string `json:"event"` // "finding"
	Severity string `json:"severity"`
	File     string `json:"file"`
	Line     int    `json:"line,omitempty"`
	Column   int    `json:"column,omitempty"`
	Message  string `json:"message"`
	Fix      string `json:"fix,omitempty"`
	Lint     string `json:"lint,omitempty"` // kind, if it can be silenced
	Subject  string `json:"subject,omitempty"`
}

// printFindings prints findings with the directory before each file name, so
// that editors find it.
func printFindings(w io.Writer, dir string, list diag.List, asJSON bool) {
	for _, f := range list {
		f.Pos.File = filepath.Join(dir, f.Pos.File)
		if asJSON {
			jsonLines(w).Encode(finding{"finding", f.Severity.String(), f.Pos.File, f.Pos.Line, f.Pos.Column, f.Message, f.Fix, f.Lint, f.Subject})
			continue
		}
		if f.Lint != "" {
			f.Message += " [" + f.Lint + "]"
		}
		fmt.Fprintln(w, f.Error())
	}
}

// compileOrReport compiles dir and prints the findings, to standard error or,
// as JSON, to standard output. An error among them is bad input.
func compileOrReport(cmd *cobra.Command, dir string) (*compiled, error) {
	c, err := compileDirectory(cmd.Context(), dir)
	if err != nil {
		return nil, err
	}
	return c, reportFindings(cmd, dir, c)
}

// reportFindings prints them. An error among them is bad input.
func reportFindings(cmd *cobra.Command, dir string, c *compiled) error {
	w := cmd.ErrOrStderr()
	if wantJSON(cmd) {
		w = cmd.OutOrStdout()
	}
	printFindings(w, dir, c.Findings, wantJSON(cmd))
	if c.Findings.Failed() {
		return &exitError{status: exitInput}
	}
	return nil
}

func newCheck() *cobra.Command {
	var policies, strict bool
	var allowed []string
	cmd := &cobra.Command{
		Use:   "check DIR",
		Short: "Check a system directory, and show what it leaves to defaults",
		Long: `Check system.yaml, the .proto files and the policies of a system directory: every
finding with its place and what to do. Then show the parameters that have no bound
of their own and the default that holds for them, and the rules that the receiving
library checks since the kernel does not.

What is legal but hardly meant is a warning or a note: a permit for everything, a
policy that never matches or never decides, a domain or a method that nobody may
call, and more (docs/policy-tools.md lists them). Its kind stands in brackets;
--allow KIND, or --allow KIND:SUBJECT for one policy, domain, method or field,
silences it. With --strict a warning that is left is exit status 1.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: oneDirectory,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := knownLint(allowed); err != nil {
				return err
			}
			c := new(compiled)
			if err := runConfinedWith(cmd.Context(), args[0], &extra{name: lintInput}, c, confinedCommand); err != nil {
				return err
			}
			unused := silence(c, allowed)
			if err := reportFindings(cmd, args[0], c); err != nil {
				return err
			}
			for _, a := range unused {
				fmt.Fprintf(cmd.ErrOrStderr(), "ward: --allow %s silences nothing\n", a)
			}
			img, err := image.Decode(c.Image)
			if err != nil {
				return failed("%w", err)
			}
			out := cmd.OutOrStdout()
			if wantJSON(cmd) {
				if err := checkJSON(out, c, img, policies); err != nil {
					return failed("%w", err)
				}
			} else {
				checkText(out, args[0], c, img, policies)
			}
			if strict && slices.ContainsFunc(c.Findings, func(f diag.Finding) bool { return f.Severity == diag.Warning }) {
				return &exitError{status: exitFailed}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "exit status 1 if there is a warning")
	cmd.Flags().StringArrayVar(&allowed, "allow", nil, "silence this `kind` of finding, or KIND:SUBJECT")
	flagWords(cmd, "allow", oneOf(lintIDs...))
	cmd.Flags().BoolVar(&policies, "policy", false, "show the policies that Ward makes from system.yaml, and the rights to objects, too")
	return cmd
}

func checkText(out io.Writer, dir string, c *compiled, img *image.Image, policies bool) {
	at := func(p diag.Pos) string {
		p.File = filepath.Join(dir, p.File)
		return p.String()
	}
	for _, b := range c.Bounds {
		fmt.Fprintf(out, "%s: default: %s has no bound of its own: %s\n", at(b.Pos), b.Field, b.Bound)
	}
	for _, u := range c.Unenforced {
		fmt.Fprintf(out, "%s: library: %s of %s is not checked by the kernel; the receiving program does with gate/grpcgate/validate\n", at(u.Pos), u.Rule, u.Field)
	}
	if policies {
		for _, p := range c.Generated {
			fmt.Fprintf(out, "%s: %s: %q\n", filepath.Join(dir, p.Source), p.Effect, p.ID)
			for _, g := range p.Grants {
				fmt.Fprintln(out, "\t"+g)
			}
		}
		printObjects(out, dir, c.Objects)
	}
	if err := linkable(img); err != nil { // no error: the system may be meant for another machine
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintf(out, "%s: program: %s\n", dir, strings.TrimSuffix(line, "\n"))
		}
	}
	fmt.Fprintf(out, "%s: ok: %s\n", dir, contents(img))
}

func checkJSON(out io.Writer, c *compiled, img *image.Image, policies bool) error {
	e := jsonLines(out)
	for _, b := range c.Bounds {
		if err := e.Encode(struct {
			Event string `json:"event"`
			boundNote
		}{"default", b}); err != nil {
			return err
		}
	}
	for _, u := range c.Unenforced {
		if err := e.Encode(struct {
			Event string `json:"event"`
			ruleNote
		}{"library", u}); err != nil {
			return err
		}
	}
	for _, p := range c.Generated {
		if !policies {
			break
		}
		if err := e.Encode(struct {
			Event string `json:"event"`
			policyNote
		}{"policy", p}); err != nil {
			return err
		}
	}
	for _, o := range c.Objects {
		if !policies {
			break
		}
		if err := e.Encode(struct {
			Event string `json:"event"`
			objectNote
		}{"object", o}); err != nil {
			return err
		}
	}
	return e.Encode(map[string]any{"event": "checked", "system": img.Name, "domains": ownDomains(img),
		"methods": methods(img), "policies": len(img.Policies)})
}

// contents says in words what an image holds.
func contents(img *image.Image) string {
	objects := ""
	if n := len(img.Objects); n > 0 {
		objects = count(n, "object") + ", "
	}
	return fmt.Sprintf("%s, %s%s, %s", count(ownDomains(img), "domain"), objects, count(methods(img), "method"), count(len(img.Policies), "polic|y|ies"))
}

func methods(img *image.Image) int {
	n := 0
	for _, i := range img.Interfaces {
		n += len(i.Methods)
	}
	return n
}

// count writes "1 domain", "2 domains"; "polic|y|ies" gives both endings.
func count(n int, word string) string {
	one, many := word, word+"s"
	if parts := strings.Split(word, "|"); len(parts) == 3 {
		one, many = parts[0]+parts[1], parts[0]+parts[2]
	}
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func newSchema() *cobra.Command {
	var descriptors string
	cmd := &cobra.Command{
		Use:   "schema DIR",
		Short: "Print the Cedar schema of a system directory",
		Long: `Print the Cedar schema of a system directory: what its policies may name.

With --descriptors the interfaces and all that they import, the rules of protovalidate
too, are written to a file instead, as a FileDescriptorSet. protoc makes code from it
and needs no other file:

  protoc --descriptor_set_in=FILE --go_out=. --go-grpc_out=. my.proto`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: oneDirectory,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := compileDirectory(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if descriptors != "" && c.Protobuf != nil {
				if err := os.WriteFile(descriptors, c.Protobuf, 0o644); err != nil {
					return failed("%w", err)
				}
			}
			if err := reportFindings(cmd, args[0], c); err != nil || descriptors != "" {
				return err
			}
			if wantJSON(cmd) {
				return jsonLines(cmd.OutOrStdout()).Encode(map[string]string{"event": "schema", "schema": c.Schema})
			}
			_, err = io.WriteString(cmd.OutOrStdout(), c.Schema)
			return err
		},
	}
	cmd.Flags().StringVar(&descriptors, "descriptors", "", "file for the interfaces as a FileDescriptorSet, which protoc reads")
	flagWords(cmd, "descriptors", file)
	return cmd
}

func newCompile() *cobra.Command {
	var output string
	var pin bool
	cmd := &cobra.Command{
		Use:   "compile DIR",
		Short: "Build the programs of a system directory and write its policy image",
		Long: `Build the programs of a system directory and write its policy image: all that wardd
reads. Prints the SHA-256 of the image; the same system gives the same image.

With --pin the image holds the SHA-256 of every program and of the libraries that its
dynamic linker loads: 'ward up IMAGE' runs those files and no others. A policy reads it
as principal.program. What a program opens by itself later (plugins, scripts, data) is
not covered; a script cannot be pinned.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: oneDirectory,
		RunE: func(cmd *cobra.Command, args []string) error {
			make := makeImage
			if pin {
				make = pinImage
			}
			encoded, img, err := make(cmd, args[0])
			if err != nil {
				return err
			}
			if output != "" {
				if err := os.WriteFile(output, encoded, 0o644); err != nil {
					return failed("%w", err)
				}
			}
			if wantJSON(cmd) {
				return jsonLines(cmd.OutOrStdout()).Encode(map[string]any{"event": "compiled", "system": img.Name,
					"hash": image.Hash(encoded), "domains": ownDomains(img), "methods": methods(img), "policies": len(img.Policies)})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s  %s  %s\n", image.Hash(encoded), img.Name, contents(img))
			return err
		},
	}
	cmd.Flags().BoolVar(&pin, "pin", false, "write the SHA-256 of every program and its libraries into the image")
	cmd.Flags().StringVarP(&output, "output", "o", "", "file for the image")
	flagWords(cmd, "output", file)
	return cmd
}
