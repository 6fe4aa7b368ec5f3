package difftest

import (
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"buf.build/go/protovalidate"

	"ward/diag"
	"ward/policy"
)

// What the environment may say: WARD_DIFF_MESSAGES is the number of messages,
// WARD_DIFF_SEED repeats a run.
const (
	envMessages = "WARD_DIFF_MESSAGES"
	envSeed     = "WARD_DIFF_SEED"

	defaultMessages = 20_000
)

func number64(t *testing.T, name string, or uint64) uint64 {
	s := os.Getenv(name)
	if s == "" {
		return or
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: loads BPF programs")
	}
}

// accepted compiles the policies of src and blanks those that are refused. It
// reports whether none was.
func (x *runner) accepted(src *source, b *built) bool {
	_, l := policy.Compile(b.res.System, b.res.Set, []policy.Source{{Name: "policy.cedar", Text: strings.Join(src.policies, "\n")}})
	ok := true
	for _, f := range l {
		if f.Severity != diag.Error {
			continue
		}
		if ok = false; f.Pos.File == "policy.cedar" && src.policies[f.Pos.Line-1] != "" {
			src.policies[f.Pos.Line-1] = ""
			x.stats.refused++
		}
	}
	return ok
}

// TestDifferential compares the kernel, Go and Cedar on random systems.
func TestDifferential(t *testing.T) {
	needRoot(t)
	seed := number64(t, envSeed, rand.Uint64())
	limit := int(min(number64(t, envMessages, defaultMessages), math.MaxInt32))
	t.Logf("%s=%d %s=%d", envSeed, seed, envMessages, limit)
	validator, err := protovalidate.New()
	if err != nil {
		t.Fatal(err)
	}
	x := &runner{validator: validator}
	start := time.Now()
	for i := uint64(0); x.stats.messages < limit; i++ {
		err := x.system(seed, i, limit)
		var m *mismatch
		if errors.As(err, &m) {
			t.Fatalf("%s=%d, system %d: mismatch: %v\nreduced to: %v", envSeed, seed, i, m, shrink(m, nil, validator))
		}
		if err != nil {
			t.Fatalf("%s=%d, system %d: %v", envSeed, seed, i, err)
		}
		if testing.Verbose() && i%1000 == 999 {
			t.Logf("%v: %v", time.Since(start).Round(time.Second), &x.stats)
		}
	}
	s := &x.stats
	t.Logf("%v; no mismatch, %v", s, time.Since(start).Round(100*time.Millisecond))
	if s.permits < s.messages/10 || s.forbids < s.messages/50 || s.defaults < s.messages/20 || s.bodies < s.messages/20 || s.cedar < s.messages/4 {
		t.Error("the generator is out of balance")
	}
}
