package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"ward/monitor/admin"
)

// mailboxLine says in a line who reads a mailbox and what waits in it.
func mailboxLine(m *admin.Mailbox) string {
	reader := "read by nobody"
	if m.Reader != "" {
		reader = m.Reader + map[bool]string{true: " reads it", false: " does not read it now"}[m.Reading]
	}
	waits := "nothing waits"
	if m.Waiting > 0 {
		waits = sized(m.Waiting) + " wait"
	}
	writers := fmt.Sprintf("%d writers", m.Writers)
	if m.Writers == 1 {
		writers = "1 writer"
	}
	return fmt.Sprintf("%s, %s, %s", writers, waits, reader)
}

// listMailboxes prints a line for each mailbox among what `ward ps` lists.
func listMailboxes(out io.Writer, domains []admin.Domain) error {
	for _, d := range domains {
		if d.Mailbox == nil {
			continue
		}
		if _, err := fmt.Fprintf(out, "mailbox %s: %s\n", d.Name, mailboxLine(d.Mailbox)); err != nil {
			return failed("%w", err)
		}
	}
	return nil
}

// describeMailbox prints a mailbox whole. It has no process, and so nothing of one.
func describeMailbox(out io.Writer, d described) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "mailbox\t%s\n", d.Name)
	fmt.Fprintf(w, "takes\t%s\n", d.Mailbox.Interface)
	fmt.Fprintf(w, "now\t%s\n", mailboxLine(d.Mailbox))
	if p := d.Descriptor; p != nil {
		fmt.Fprintf(w, "quota\tgates: %d of %d; those whose writer has closed them count until they are read\n", d.Gates, p.Quota.Gates)
		for i, g := range p.Held {
			fmt.Fprintf(w, "%s\t%s: %s → %s\n", heading(i, "gates"), g.Interface, g.From, g.To)
		}
	}
	// What it counts itself is what was sent the wrong way; each writer has its own numbers.
	if d.Denied > 0 {
		fmt.Fprintf(w, "denied\t%d, sent on its reading ends\n", d.Denied)
	}
	return w.Flush()
}
