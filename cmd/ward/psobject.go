package main

import (
	"fmt"
	"strings"

	"ward/monitor/admin"
)

// objectRow says what a domain may do with an object, and what it has of it.
func objectRow(o *admin.Object) string {
	row := o.Kind + " " + o.Name
	var rights []string
	for _, r := range o.Rights {
		rights = append(rights, fmt.Sprintf("%s by %q", r.Access, r.Policy))
	}
	if len(rights) > 0 {
		row += ": " + strings.Join(rights, ", ")
	} else {
		row += ": no right any more"
	}
	if o.Held > 0 {
		row += fmt.Sprintf("; has %d, %s", o.Held, sized(o.Bytes))
	}
	return row
}
