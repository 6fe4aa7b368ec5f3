package yamltext

import "strings"

// fixes say what to do about what the parser complains of, in its words.
var fixes = []struct{ complaint, fix string }{
	{"found character '\t'", "indent with spaces: YAML takes no tabs"},
	{"non-map value is specified", "put a space after the colon of each key"},
	{"could not find flow mapping end", "close each { with a }"},
	{"sequence end token ']' not found", "close each [ with a ]"},
	{"could not find end character of", "close the quotes in the same line"},
	{"value is not allowed in this context", "indent each key as its neighbours are, and put a space after its colon"},
}

// fixOf is what to do about a complaint of the parser; "": it says itself, or is not known.
func fixOf(message string) string {
	for _, f := range fixes {
		if strings.Contains(message, f.complaint) {
			return f.fix
		}
	}
	return ""
}
