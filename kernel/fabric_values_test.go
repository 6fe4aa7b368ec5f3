package kernel

import (
	"math/rand/v2"
	"os"
	"testing"
)

// valuePaths are the parameters of allImage that fuzzPaths leaves out, eight at
// most at a time, as many as an audit record carries.
var valuePaths = [][][]uint32{
	{{2}, {3}, {4}, {6}, {8}, {10}, {11}, {12}},     // the other integers, a bool, a dense enum
	{{18}, {17}, {19}, {22}, {21}, {24}, {25}, {7}}, // a class of characters, bytes, a set, a oneof, counts
}

// TestDifferentialValues is TestDifferential for the other types of parameters:
// what the filter saw of each is what protobuf decodes.
func TestDifferentialValues(t *testing.T) {
	for i, paths := range valuePaths {
		d := newDiffer(t, paths)
		r := rand.New(rand.NewPCG(2026, uint64(100+i)))
		const runs = differentialRuns / 4
		for range runs {
			body := randomMessage(r, d.img, 0, 0)
			if r.IntN(3) == 0 {
				body = mutate(r, body)
			}
			d.compare(t, body)
		}
		if d.admits < runs/20 {
			t.Errorf("only %d of %d messages were well-formed: the generator tests little", d.admits, runs)
		}
	}
}

// FuzzValues is FuzzBody for the other types of parameters. Needs root.
func FuzzValues(f *testing.F) {
	if os.Geteuid() != 0 {
		f.Skip("needs root: loads BPF programs")
	}
	for _, c := range bodyCases {
		f.Add(c.body)
	}
	var all []*differ
	for _, paths := range valuePaths {
		all = append(all, newDiffer(f, paths))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, d := range all {
			d.compare(t, body)
		}
	})
}
