package difftest

import (
	"errors"
	"math"
	"testing"

	"buf.build/go/protovalidate"
)

// perRouteFuzz is the number of messages of each route in one system that is
// fuzzed, both ways: more systems are worth more than more messages.
const perRouteFuzz = 200

// FuzzSystems compares the kernel, Go, Cedar and protovalidate on the systems
// that seeds stand for, for as long as one likes: `make fuzz FUZZTIME=8h`. A
// mismatch is reduced and printed, and its seed kept in testdata/fuzz.
func FuzzSystems(f *testing.F) {
	validator, err := protovalidate.New()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint64(2026), uint64(0)) // with protovalidate
	f.Add(uint64(2026), uint64(3)) // with handles
	f.Fuzz(func(t *testing.T, seed, i uint64) {
		needRoot(t)
		x := &runner{validator: validator, each: perRouteFuzz, handles: true}
		err := x.system(seed, i, math.MaxInt32)
		var m *mismatch
		if errors.As(err, &m) {
			t.Fatalf("mismatch: %v\nreduced to: %v", m, shrink(m, damage{}, validator))
		}
		if err != nil {
			t.Fatal(err)
		}
	})
}
