package audit

import (
	"strings"
	"testing"

	"ward/abi"
	"ward/filter"
	"ward/image"
)

// Two strings have 32 bytes each of a record's text: what is left out of the
// first is not made up from the second's.
func TestTextsOfARecord(t *testing.T) {
	params := []filter.Param{{Name: "a", Text: true, Type: image.String}, {Name: "n", Type: image.Uint32}, {Name: "b", Text: true, Type: image.String}}
	k := &abi.Record{Present: 7, Params: []uint64{40, 7, 32<<32 | 3}, Text: []byte(strings.Repeat("x", 32) + "foo")}
	for i, want := range map[int]string{0: strings.Repeat("x", 32) + "…", 2: "foo"} {
		if got := text(params, k, i); got != want {
			t.Errorf("string %d: %q, want %q", i, got, want)
		}
	}
}
