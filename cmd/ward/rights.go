package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ward/abi"
	"ward/diag"
	"ward/holder/link"
	"ward/image"
	"ward/monitor/admin"
)

// A right is what ward revoke took away or ward grant gave while the system
// runs: one policy of the live file.
type right struct {
	Verb   string    `json:"event"` // revoked or granted
	From   string    `json:"from"`
	To     string    `json:"to"`
	Method string    `json:"method,omitempty"` // pkg.Service/Method; "": all
	By     string    `json:"by"`
	At     time.Time `json:"time"`
	Cedar  string    `json:"cedar"` // what to write into the policy to keep it
}

const (
	revoked = "revoked"
	granted = "granted"
)

// id is that of its policy.
func (r *right) id() string {
	what := r.Method
	if what == "" {
		what = "everything"
	}
	return fmt.Sprintf("%s: %s to %s, %s", r.Verb, r.From, r.To, what)
}

// same reports whether two rights are about the same.
func (r *right) same(o right) bool { return r.From == o.From && r.To == o.To && r.Method == o.Method }

// String is how it is listed.
func (r *right) String() string {
	return fmt.Sprintf("%s by %s at %s", r.id(), r.By, r.At.Format(time.RFC3339))
}

// liveText writes rights as the live file: a comment with who and when before
// each policy.
func liveText(rights []right) string {
	var b strings.Builder
	for _, r := range rights {
		fmt.Fprintf(&b, "// %s\t%s\t%s\t%s\t%s\t%s\n%s\n", r.Verb, r.From, r.To, r.Method, r.By, r.At.Format(time.RFC3339), r.Cedar)
	}
	return b.String()
}

// parseRights reads what liveText wrote.
func parseRights(text string) ([]right, error) {
	var rights []right
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		fields := strings.Split(strings.TrimPrefix(lines.Text(), "// "), "\t")
		if len(fields) != 6 || !lines.Scan() {
			return nil, failed("%s is not as ward revoke and ward grant wrote it: remove it, and reload the system", liveFile)
		}
		at, err := time.Parse(time.RFC3339, fields[5])
		if err != nil {
			return nil, failed("%s: %w", liveFile, err)
		}
		rights = append(rights, right{fields[0], fields[1], fields[2], fields[3], fields[4], at, lines.Text()})
	}
	return rights, nil
}

// userPrefix marks a user outside Ward among clients.
const userPrefix = "user:"

// newRight checks the names of a right against the running system, and writes
// its policy.
func newRight(img *image.Image, verb, from, to, method string) (*right, error) {
	r := &right{Verb: verb, From: from, To: to, By: whoAmI(), At: time.Now().UTC()}
	domain := func(name string) (*image.Domain, error) {
		var known []string
		for i := range img.Domains {
			if img.Domains[i].Name == name {
				return &img.Domains[i], nil
			}
			known = append(known, img.Domains[i].Name)
		}
		return nil, badInput("the system %s has no domain %q%s", img.Name, name, orElse(name, known, "a user outside Ward is written user:NAME"))
	}
	server, err := domain(to)
	if err != nil {
		return nil, err
	}
	principal, inRing := "", ""
	if name, ok := strings.CutPrefix(from, userPrefix); ok {
		principal = fmt.Sprintf("User::%q", name)
	} else if _, err := domain(from); err != nil {
		return nil, err
	} else {
		name, ring := image.Ringed(from)
		if principal = fmt.Sprintf("Domain::%q", name); ring != "" {
			inRing = fmt.Sprintf(" when { principal.ring.name == %q }", ring)
		}
	}
	var services []string
	for _, e := range server.Exports {
		if f := &img.Interfaces[e.Interface]; len(f.Methods) > 0 {
			services = append(services, action(f.Name, ""))
		}
	}
	known := methodsAt(img, to)
	if method != "" && !slices.Contains(known, method) {
		short := func(s string) bool { return strings.HasSuffix(s, "/"+method) || strings.HasSuffix(s, "."+method) }
		if i := slices.IndexFunc(known, short); i >= 0 && !slices.ContainsFunc(known[i+1:], short) {
			method = known[i]
		} else {
			return nil, badInput("%s has no method %q%s", to, method, orElse(method, known, methodsOf(known)))
		}
	}
	r.Method = method
	what := "action in [" + strings.Join(services, ", ") + "]"
	if method != "" {
		service, name, _ := strings.Cut(method, "/")
		what = "action == " + action(service, name)
	} else if len(services) == 0 {
		return nil, badInput("%s exports nothing, so there is nothing to take away", to)
	}
	effect := map[string]string{revoked: "forbid", granted: "permit"}[verb]
	r.Cedar = fmt.Sprintf("@id(%q) %s (principal == %s, %s, resource == Domain::%q)%s;", r.id(), effect, principal, what, to, inRing)
	return r, nil
}

// methodsAt lists the methods that a domain exports.
func methodsAt(img *image.Image, domain string) (names []string) {
	for i := range img.Domains {
		if img.Domains[i].Name != domain {
			continue
		}
		for _, e := range img.Domains[i].Exports {
			f := &img.Interfaces[e.Interface]
			for _, m := range f.Methods {
				names = append(names, f.Name+"/"+m.Name)
			}
		}
	}
	return names
}

// methodsOf says which methods there are.
func methodsOf(known []string) string {
	if len(known) == 0 {
		return "it exports nothing"
	}
	return "methods are written pkg.Service/Method: " + strings.Join(known, ", ")
}

// action is the entity of a method, or of all of a service.
func action(service, method string) string {
	pkg, name := "", service
	if i := strings.LastIndexByte(service, '.'); i >= 0 {
		pkg, name = strings.ReplaceAll(service[:i], ".", "::")+"::", service[i+1:]
	}
	if method != "" {
		name += "." + method
	}
	return fmt.Sprintf("%sAction::%q", pkg, name)
}

// whoAmI is the user who called, through sudo or not.
func whoAmI() string {
	if c := sudoCaller(); c != nil {
		return c.name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprint(os.Getuid())
}

func newRevoke() *cobra.Command {
	return rightCommand(revoked, "revoke FROM TO [METHOD]", "Take a right away while the system runs",
		`Forbid the calls of one domain (or user:NAME) to another, all or one method, while
the system runs. Open gates that nothing may pass any more are closed; pending calls
on them fail. Nobody is restarted.

It is recorded, shown by 'ward ps', and undone by the next 'ward reload', unless it
is written into the policy: the line to write is printed.`, cobra.RangeArgs(2, 3))
}

func newGrant() *cobra.Command {
	return rightCommand(granted, "grant FROM TO [METHOD]", "Give a right while the system runs",
		`Permit one domain (or user:NAME) the calls of a method of another, while the system
runs. What the policy forbids stays forbidden. A grant of what 'ward revoke' took away
takes that back; without METHOD that is all that it can do.

It is recorded, shown by 'ward ps', and undone by the next 'ward reload', unless it
is written into the policy: the line to write is printed.`, cobra.RangeArgs(2, 3))
}

func rightCommand(verb, use, short, long string, args cobra.PositionalArgs) *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Args: args, ValidArgsFunction: completeRight,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := runningTarget(cmd.Context(), from)
			if err != nil {
				return err
			}
			method := ""
			if len(args) == 3 {
				method = args[2]
			}
			r, err := newRight(t.img, verb, args[0], args[1], method)
			if err != nil {
				return err
			}
			return changeRight(cmd, t, r)
		},
	}
	systemFlag(cmd, &from)
	return cmd
}

// changeRight puts a right into force.
func changeRight(cmd *cobra.Command, t *target, r *right) error {
	archive, err := readIfThere(filepath.Join(t.dir, sourceFile))
	if err != nil {
		return failed("%w", err)
	}
	hash, err := readIfThere(filepath.Join(t.dir, hashFile))
	if err != nil {
		return failed("%w", err)
	}
	if len(archive) > 0 && string(hash) != t.hash {
		return failed("%s runs another policy than the one that was written down here, as a user reloaded it: 'ward reload DIR' with its directory first", nameOf(t.dir))
	}
	if len(archive) == 0 {
		return failed("%s was started from an image, so nobody knows what its policy was written as: 'ward reload DIR' with its directory first", nameOf(t.dir))
	}
	if _, err := t.recompile(cmd, archive, t.live, "", true); err != nil {
		return err
	}
	undone := false
	live := slices.DeleteFunc(slices.Clone(t.live), func(o right) bool {
		undone = undone || o.same(*r) && o.Verb == revoked && r.Verb == granted
		return o.same(*r)
	})
	about := r.id()
	switch {
	case undone:
		about = ""
	case r.Verb == granted && r.Method == "":
		return badInput("nothing was revoked from %s to %s as a whole: name the METHOD that is granted%s", r.From, r.To, t.revokedInPart(r))
	case r.Verb == granted:
		whole := right{From: r.From, To: r.To}
		if i := slices.IndexFunc(live, func(o right) bool { return o.Verb == revoked && o.same(whole) }); i >= 0 {
			return failed("%s: 'ward grant %s %s' takes that back", &live[i], r.From, r.To)
		}
		live = append(live, *r)
	default:
		live = append(live, *r)
	}
	img, err := t.recompile(cmd, archive, live, about, false)
	if err != nil {
		return err
	}
	var unless []string
	if r.Verb == granted && !undone {
		if unless, err = effect(img, r); err != nil {
			return err
		}
	}
	sealed, err := link.Seal(image.Encode(img))
	if err != nil {
		return failed("%w", err)
	}
	defer sealed.Close()
	kind := map[string]admin.Kind{revoked: admin.Revoke, granted: admin.Grant}[r.Verb]
	change := admin.Change{Kind: kind, Running: t.hash, Image: sealed, Text: strings.TrimPrefix(r.id(), r.Verb+": ") + ", by " + r.By}
	ctx, cancel := changeContext(cmd)
	defer cancel()
	changed, err := change.Ask(ctx, t.dir)
	if err != nil {
		return failed("%w", err)
	}
	if err := keepSources(t.dir, archive, liveText(live), changed.Hash); err != nil {
		return failed("it is in force, but cannot be written down for later changes: %w", err)
	}
	if wantJSON(cmd) {
		return jsonLines(cmd.OutOrStdout()).Encode(struct {
			*right
			Undone  bool     `json:"undone,omitempty"` // a revocation was taken back
			Unless  []string `json:"unless,omitempty"` // forbids that may still decide
			Changed any      `json:"changed"`
		}{r, undone, unless, changed})
	}
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "%s\n", r.id())
	for _, id := range unless {
		fmt.Fprintf(out, "unless %q forbids it\n", id)
	}
	tellClosed(out, changed)
	if undone {
		fmt.Fprintln(out, "what ward revoke had added is gone; the policy decides again")
		return nil
	}
	fmt.Fprintf(out, "The next 'ward reload' undoes it, unless the policy says so itself:\n  %s\n", r.Cedar)
	return nil
}

// revokedInPart names the methods that were revoked between the ends of a right.
func (t *target) revokedInPart(r *right) string {
	var methods []string
	for i := range t.live {
		if o := &t.live[i]; o.Verb == revoked && o.From == r.From && o.To == r.To {
			methods = append(methods, o.Method)
		}
	}
	if len(methods) == 0 {
		return ""
	}
	return "; revoked is " + strings.Join(methods, ", ")
}

// recompile compiles the sources with live policies, into an image with the
// numbers of the running one. unchanged: the result must be the running image.
func (t *target) recompile(cmd *cobra.Command, archive []byte, live []right, about string, unchanged bool) (*image.Image, error) {
	c, err := recompile(cmd.Context(), archive, t.img, liveText(live), about)
	if err != nil {
		return nil, err
	}
	if c.Findings.Failed() {
		printFindings(cmd.ErrOrStderr(), "", slices.DeleteFunc(c.Findings, func(f diag.Finding) bool { return f.Severity != diag.Error }), wantJSON(cmd))
		return nil, &exitError{status: exitInput}
	}
	img, err := image.Decode(c.Image)
	if err != nil {
		return nil, failed("image from the compiler: %w", err)
	}
	aligned, err := t.adopt(img, c.Build)
	if err != nil {
		return nil, err
	}
	if unchanged && image.Hash(image.Encode(aligned)) != t.hash {
		return nil, failed("what is running is not what %s was compiled from last: 'ward reload DIR' first", nameOf(t.dir))
	}
	if c.Wins != "" {
		return nil, failed("%q (%s) forbids it, and a forbid of the policy wins over a grant: change the policy, and 'ward reload DIR'", c.Wins, c.Source)
	}
	return aligned, nil
}

// effect reports which forbids may still decide on what was granted; it is an
// error if the grant has none.
func effect(img *image.Image, r *right) (unless []string, err error) {
	found := false
	for i := range img.Routes {
		route := &img.Routes[i]
		for m := range route.Methods {
			d := &route.Methods[m].Request
			if !slices.ContainsFunc(d.Permit, func(p image.Rule) bool { return img.Policies[p.Policy].ID == r.id() }) {
				continue
			}
			found = true
			if !route.Connect.Allow && route.Connect.Policy != abi.NoPolicy {
				return nil, failed("%q forbids %s to connect to %s, and a forbid of the policy wins over a grant", img.Policies[route.Connect.Policy].ID, r.From, r.To)
			}
			for _, f := range d.Forbid {
				unless = append(unless, img.Policies[f.Policy].ID)
			}
		}
	}
	if !found {
		if id, yes := permittedAlready(img, r); yes {
			return nil, failed("%q permits it already: nothing was changed", id)
		}
		what := errors.New("the permit could match no message")
		if strings.HasPrefix(r.From, userPrefix) {
			what = errors.New("the interface has no socket for programs outside Ward")
		}
		return nil, failed("a grant to %s of %s at %s would have no effect: %w", r.From, r.Method, r.To, what)
	}
	return unless, nil
}

// permittedAlready finds the policy that permits every message that a right between
// domains is about. A permit beside such a one is left out of the image.
func permittedAlready(img *image.Image, r *right) (id string, yes bool) {
	for i := range img.Routes {
		route := &img.Routes[i]
		if route.Client == abi.NoDomain || img.Domains[route.Client].Name != r.From || img.Domains[route.Server].Name != r.To {
			continue
		}
		f := &img.Interfaces[route.Interface]
		for m := range route.Methods {
			for _, p := range route.Methods[m].Request.Permit {
				if f.Name+"/"+f.Methods[m].Name == r.Method && p.When.Op == image.True {
					return img.Policies[p.Policy].ID, true
				}
			}
		}
	}
	return "", false
}
