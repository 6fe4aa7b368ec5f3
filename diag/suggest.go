package diag

import (
	"fmt"
	"strings"
)

// maxSuggest is the longest word, in bytes, that Suggest looks at: the
// distance costs the product of both lengths.
const maxSuggest = 128

// Suggest returns `did you mean "x"?` for the known word nearest to what was
// written, or "" if none is near: at most a third of the letters differ, or
// only their case, or the last part of a dotted or slashed name agrees.
func Suggest(written string, known []string) string {
	if len(written) == 0 || len(written) > maxSuggest {
		return ""
	}
	best, distance := "", max(1, len(written)/3)+1
	for _, k := range known {
		if len(k) > maxSuggest {
			continue
		}
		d := levenshtein(strings.ToLower(written), strings.ToLower(k))
		if d >= distance && lastPart(k) != k && lastPart(k) == lastPart(written) {
			d = distance - 1
		}
		if d < distance && d < len(written) { // at least one letter stays
			best, distance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

func lastPart(s string) string { return s[strings.LastIndexAny(s, "./")+1:] }

// levenshtein counts the insertions, deletions and replacements of bytes, and
// swaps of neighbours, that turn a into b.
func levenshtein(a, b string) int {
	older, old, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range old {
		old[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(old[j]+1, row[j-1]+1, old[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], older[j-2]+1)
			}
		}
		older, old, row = old, row, older
	}
	return old[len(b)]
}
