package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"ward/abi"
	"ward/monitor/admin"
)

// A branch is a domain in the tree that `ward ps` shows: domains of the system,
// and under each the children that it has made.
type branch struct {
	admin.Domain
	stem string // what is drawn before its name
}

// tree orders domains so that each is followed by its descendants. A child
// whose parent has gone stands under the nearest ancestor that is there.
func tree(domains []admin.Domain) (all []branch) {
	there := map[string]bool{}
	for _, d := range domains {
		there[d.Name] = true
	}
	under := map[string][]admin.Domain{} // "": of the system
	for _, d := range domains {
		above := ""
		if d.Child != nil {
			for _, a := range d.Lineage {
				if there[a] && a != d.Name {
					above = a
					break
				}
			}
		}
		under[above] = append(under[above], d)
	}
	var grow func(of, stem string)
	grow = func(of, stem string) {
		list := under[of]
		delete(under, of) // each once, whatever the answer says
		for i, d := range list {
			knot, rest := "├─ ", "│  "
			switch {
			case of == "":
				knot, rest = "", ""
			case i == len(list)-1:
				knot, rest = "└─ ", "   "
			}
			all = append(all, branch{d, stem + knot})
			grow(d.Name, stem+rest)
		}
	}
	grow("", "")
	return all
}

func listDomains(out io.Writer, domains []admin.Domain) error {
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 8, 2, ' ', 0)
	header := "DOMAIN\tSTATE\tPID\tUID\tRING\tGATES\tALLOWED\tDENIED\tLOST"
	children := false
	for _, d := range domains {
		children = children || d.Child != nil
	}
	if children {
		header += "\tTEMPLATE\tLEFT\tMAY CALL"
	}
	fmt.Fprintln(w, header)
	for _, d := range tree(domains) {
		allowed, denied := fmt.Sprint(d.Allowed), fmt.Sprint(d.Denied)
		if d.Level == libraryLevel { // nobody counts there
			allowed, denied = "-", "-"
		}
		fmt.Fprintf(w, "%s%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%d", d.stem, d.Name, state(d.Domain), number(livePID(d.Domain)), number(int(d.UID)),
			ring(d.Domain), d.Gates, allowed, denied, d.Lost)
		switch {
		case !children:
		case d.Child == nil:
			fmt.Fprint(w, "\t\t\t")
		default:
			fmt.Fprintf(w, "\t%s\t%s\t%s", d.Template, timeLeft(d.Child), shortRights(d.Rights))
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	for line := range strings.Lines(table.String()) {
		if _, err := fmt.Fprintln(out, strings.TrimRight(line, " \n")); err != nil {
			return failed("%w", err)
		}
	}
	if err := listMailboxes(out, domains); err != nil {
		return err
	}
	if len(domains) > 0 && domains[0].Level != "" {
		fmt.Fprintf(out, "level %s\n", levelMeans(domains[0].Level))
	}
	return nil
}

// levelMeans is the name of a level and what it means.
func levelMeans(level string) string {
	if level == abi.LevelLibrary.String() {
		return level + ": the kernel checks methods and sizes of messages, the receivers' libraries the parameters"
	}
	return level + ": the kernel checks every message"
}

// timeLeft is what is left of a child's life time.
func timeLeft(c *admin.Child) string {
	if c.Left == 0 {
		return "-"
	}
	d := time.Duration(c.Left)
	if d < time.Second {
		return "<1s"
	}
	return d.Truncate(time.Second).String()
}

// shownRights are how many rights of a child one line has room for.
const shownRights = 2

func shortRights(rights []string) string {
	switch n := len(rights); {
	case n == 0:
		return "-"
	case n > shownRights:
		return fmt.Sprintf("%s and %d more", strings.Join(rights[:shownRights], ", "), n-shownRights)
	}
	return strings.Join(rights, ", ")
}

// childRows say what a child is, in the description of a domain.
func childRows(c *admin.Child) (of, ends string) {
	of = fmt.Sprintf("%s, made of %s", strings.Join(c.Lineage, ", child of "), c.Template)
	with := "with " + c.Parent
	if c.Adopted {
		with = "not with " + c.Parent + ": it was to be adopted"
	}
	if c.Left == 0 {
		return of, with
	}
	joined := " or "
	if c.Adopted {
		joined = ", "
	}
	return of, "in " + timeLeft(c) + joined + with
}

// offspringRows say how many children a domain has of those that it may have,
// and what of its quotas it has given to them.
func offspringRows(o *admin.Offspring, q *admin.Quota) []string {
	switch {
	case o == nil:
		return nil
	case o.Depth == 0:
		return []string{"none: it is in the last generation that may be"}
	}
	rows := []string{fmt.Sprintf("%d of %d, %d of %d in all generations, of which there may be %d", o.Children, o.MaxChildren, o.Descendants, o.MaxDescendants, o.Depth),
		"inherit: " + o.Inherit}
	given := func(what string, v, of uint64, show func(uint64) string) {
		if v > 0 {
			rows = append(rows, fmt.Sprintf("%s: %s of %s given to them", what, show(v), show(of)))
		}
	}
	// Of these, the quota is what is left.
	given("processes", uint64(o.Given.Processes), uint64(o.Given.Processes)+uint64(q.Processes), decimal)
	given("memory", o.Given.Memory, o.Given.Memory+q.Memory, sized)
	given("gates", uint64(o.Given.Gates), uint64(o.Given.Gates)+uint64(q.Gates), decimal)
	given("percent of a processor", uint64(o.Given.CPU), uint64(o.Given.CPU)+uint64(q.CPU), decimal)
	if o.Descendants > 0 {
		rows = append(rows, fmt.Sprintf("CPU: it and they together weigh %d", q.CPUWeight))
	}
	given("messages a second", uint64(o.Given.Messages), uint64(q.Messages), decimal)
	return rows
}

// loanRows say what a domain has lent, and what it was lent.
func loanRows(name string, loans []admin.Loan) (rows []string) {
	for _, l := range loans {
		how := "lent to " + l.To
		if l.To == name {
			how = "in the name of " + l.From
		}
		uses := ""
		if l.Uses > 0 {
			uses = fmt.Sprintf(", %d uses in all", l.Uses)
		}
		rows = append(rows, fmt.Sprintf("%d: %s %s, %v left%s", l.ID, l.Entry, how, time.Duration(l.Left).Truncate(time.Second), uses))
	}
	return rows
}

// condition says in words which policies let an entry point be called.
func condition(c *admin.Call) string {
	line := quoted(c.Policies)
	if len(c.Forbids) > 0 {
		line += ", unless " + quoted(c.Forbids)
	}
	for _, l := range c.Under {
		line += fmt.Sprintf(", and for %s %s", l.Of, quoted(l.Policies))
		if len(l.Forbids) > 0 {
			line += ", unless " + quoted(l.Forbids)
		}
	}
	return line
}
