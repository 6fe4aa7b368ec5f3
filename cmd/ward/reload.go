package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ward/compare"
	"ward/holder/link"
	"ward/image"
	"ward/monitor/admin"
)

// changeLimit bounds a change of a running system: all its filters are verified anew.
const changeLimit = 2 * time.Minute

func changeContext(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	return context.WithTimeout(cmd.Context(), changeLimit)
}

type reloadFlags struct {
	system      string
	yes, dry    bool
	noNewAccess bool
}

func newReload() *cobra.Command {
	var o reloadFlags
	cmd := &cobra.Command{
		Use:   "reload DIR|IMAGE",
		Short: "Put a changed policy into force while the system runs",
		Long: `Compile a system directory, or read an image of 'ward compile', show what changes
against the running system, ask, and put it into force: every gate gets its new
filter. A message is judged by the old policy or by the new. A gate that the new
policy does not allow is closed, and its pending calls fail. It is done when the
last filter of the old policy has ended. A reload that fails changes nothing.
Asked for while the system starts, it waits until all domains are started.

Policies, bounds of parameters, rates, state and exports change live. Domains that
are new start, domains that are gone are stopped. What was put into a domain's
process when it was made (program, files, ring, ...) cannot change while it runs:
then the reload is refused, with the list. Programs of running domains are not
built again.

Of several running systems it is the one whose name system.yaml has.

What 'ward revoke' and 'ward grant' did since the last reload is undone.

Root may, and a user whom a policy permits ward::Action::"reload" on the system.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: paths(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return reload(cmd, args[0], &o)
		},
	}
	systemFlag(cmd, &o.system)
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVarP(&o.dry, "dry-run", "n", false, "show what would change, and change nothing")
	cmd.Flags().BoolVar(&o.noNewAccess, "no-new-access", false, "refuse what allows anything new, or where that cannot be excluded")
	return cmd
}

func reload(cmd *cobra.Command, path string, o *reloadFlags) error {
	if running := runningSystems(); o.system == "" && len(running) > 1 {
		var err error
		if o.system, err = meant(cmd, path, running); err != nil {
			return err
		}
	}
	t, err := runningTarget(cmd.Context(), o.system)
	if err != nil {
		return err
	}
	img, archive, err := t.read(cmd, path, o.dry)
	if err != nil {
		return err
	}
	if err := linkable(img); err != nil {
		return badInput("%w", err)
	}
	if err := required(img, t.img.Require); err != nil {
		return err
	}
	if err := disksBounded(img); err != nil {
		return err
	}
	report := compare.Images(t.img, img)
	out := cmd.OutOrStdout()
	if wantJSON(cmd) {
		err = diffJSON(out, report)
	} else {
		err = diffText(out, report)
	}
	if err != nil {
		return failed("%w", err)
	}
	for i := range t.live {
		if wantJSON(cmd) {
			err = jsonLines(out).Encode(map[string]any{"event": "undone", "right": t.live[i]})
		} else {
			_, err = fmt.Fprintf(out, "undoes %s\n", &t.live[i])
		}
		if err != nil {
			return failed("%w", err)
		}
	}
	if o.noNewAccess && report.NewAccess() > 0 {
		return failed("%s with new access, or where it could not be excluded: nothing was changed", count(report.NewAccess(), "change"))
	}
	if !o.dry && !o.yes {
		if err := confirm(cmd, "Put this into force?"); err != nil {
			return err
		}
	}
	sealed, err := link.Seal(image.Encode(img))
	if err != nil {
		return failed("%w", err)
	}
	defer sealed.Close()
	change := admin.Change{Kind: admin.Reload, DryRun: o.dry, Running: t.hash, Image: sealed}
	ctx, cancel := changeContext(cmd)
	defer cancel()
	changed, err := change.Ask(ctx, t.dir)
	if err != nil {
		return failed("%w", err)
	}
	if !o.dry {
		if os.Geteuid() != 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "ward: what this was compiled from is not written down, as root's reload would: 'ward revoke' and 'ward grant' need one of those first\n")
		} else if err := keepSources(t.dir, archive, "", changed.Hash); err != nil {
			return failed("the new policy is in force, but cannot be written down for later changes: %w", err)
		}
	}
	return t.tell(cmd, changed, o.dry)
}

// meant is the one of several running systems that a directory or an image is of.
func meant(cmd *cobra.Command, path string, running []string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", badInput("%w", err)
	}
	var img *image.Image
	if info.IsDir() {
		c, err := compileDirectory(cmd.Context(), path)
		if err != nil {
			return "", err
		}
		if c.Findings.Failed() {
			return "", reportFindings(cmd, path, c)
		}
		if img, err = image.Decode(c.Image); err != nil {
			return "", failed("image from the compiler: %w", err)
		}
	} else if img, err = readImage(path); err != nil {
		return "", err
	}
	if !slices.Contains(running, img.Name) {
		return "", badInput("%s is the system %q, and these run: %s; start it with 'ward up'", path, img.Name, strings.Join(running, ", "))
	}
	return img.Name, nil
}

// read compiles a directory, or reads an image, and gives it the numbers of
// the running one. Programs are built for domains that are new.
func (t *target) read(cmd *cobra.Command, path string, dry bool) (*image.Image, []byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, badInput("%w", err)
	}
	if !info.IsDir() {
		img, err := readImage(path)
		if err != nil {
			return nil, nil, err
		}
		img, err = t.adopt(img, nil)
		return img, nil, err
	}
	archive, err := packed(path)
	if err != nil {
		return nil, nil, err
	}
	c, err := recompile(cmd.Context(), archive, t.img, "", "")
	if err != nil {
		return nil, nil, err
	}
	if err := reportFindings(cmd, path, &c.compiled); err != nil {
		return nil, nil, err
	}
	img, err := image.Decode(c.Image)
	if err != nil {
		return nil, nil, failed("image from the compiler: %w", err)
	}
	if err := plausible(img, c.Build); err != nil {
		return nil, nil, failed("answer of the compiler: %w", err)
	}
	aligned, err := t.adopt(img, c.Build)
	if err != nil {
		return nil, nil, err
	}
	added := map[string]string{}
	for i := range aligned.Domains {
		if d := &aligned.Domains[i]; d.Program == "" && c.Build[d.Name] != "" {
			added[d.Name] = c.Build[d.Name]
			d.Program = "/not-built-yet" // for a dry run: whoever starts it builds it first
		}
	}
	if !dry {
		programs, err := buildAll(cmd.Context(), cmd.ErrOrStderr(), path, aligned.Name, added)
		if err != nil {
			return nil, nil, err
		}
		for i := range aligned.Domains {
			if p, ok := programs[aligned.Domains[i].Name]; ok {
				aligned.Domains[i].Program = p
			}
		}
	}
	return aligned, archive, nil
}

// confirm asks on the terminal.
func confirm(cmd *cobra.Command, question string) error {
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !isTerminal(in) {
		return badInput("nobody can be asked here: look at it with --dry-run, and give --yes to put it into force")
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s [y/N] ", question)
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && err != io.EOF {
		return failed("%w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return failed("nothing was changed")
}

// tell says what was done.
func (t *target) tell(cmd *cobra.Command, c *admin.Changed, dry bool) error {
	out := cmd.OutOrStdout()
	if wantJSON(cmd) {
		if err := jsonLines(out).Encode(struct {
			Event  string `json:"event"`
			System string `json:"system"`
			DryRun bool   `json:"dry_run,omitempty"`
			*admin.Changed
		}{"reload", t.img.Name, dry, c}); err != nil {
			return failed("%w", err)
		}
	} else {
		tellClosed(out, c)
		for _, d := range c.Stopped {
			fmt.Fprintf(out, "stops %s\n", d)
		}
		for _, d := range c.Started {
			fmt.Fprintf(out, "starts %s\n", d)
		}
		switch {
		case dry:
			fmt.Fprintf(out, "%s would swap the filters of %s; nothing was changed\n", t.img.Name, count(c.Gates, "gate"))
		default:
			fmt.Fprintf(out, "%s: the filters of %s swapped in %v, the old ones ended after %v\n", t.img.Name, count(c.Gates, "gate"), nanos(c.Swap), nanos(c.Whole))
		}
	}
	if len(c.Failed) > 0 {
		return failed("the new policy is in force, but these domains did not start: %s", strings.Join(c.Failed, "; "))
	}
	return nil
}

// tellClosed lists the gates that the new policy does not allow.
func tellClosed(out io.Writer, c *admin.Changed) {
	for _, g := range c.Closed {
		why := g.Reason
		if g.Policy != "" {
			why = fmt.Sprintf("by %q", g.Policy)
		}
		fmt.Fprintf(out, "closes  %s → %s  %s  %s\n", g.From, g.To, g.Interface, why)
	}
}
