package policy

import (
	"strings"

	"ward/diag"
	"ward/policy/internal/syntax"
)

// didYouMean is the fix for an unknown name: what was probably meant, or what there is.
func didYouMean(s string, names []string, what string) string {
	if fix := diag.Suggest(s, names); fix != "" {
		return fix
	}
	if len(names) == 0 {
		return "there is no " + what
	}
	list := strings.Join(names[:min(len(names), 8)], ", ")
	if len(names) > 8 {
		list += ", …"
	}
	return "there is: " + list
}

// quote shows a string as Cedar writes it.
func quote(s string) string { return syntax.Quote(s) }
