package difftest

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"buf.build/go/protovalidate"

	"ward/diag"
	"ward/image"
	"ward/policy"
)

// What the environment may say: WARD_DIFF_MESSAGES is the number of messages,
// WARD_DIFF_SEED repeats a run, with the same WARD_DIFF_EACH: messages for each
// loaded route. WARD_DIFF_WORKERS is how many systems run at the same time.
const (
	envMessages = "WARD_DIFF_MESSAGES"
	envSeed     = "WARD_DIFF_SEED"
	envEach     = "WARD_DIFF_EACH"
	envWorkers  = "WARD_DIFF_WORKERS"

	defaultMessages = 200_000
	defaultWorkers  = 2
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
func (x *runner) accepted(g *generator, src *source, b *built, options []policy.Option) bool {
	_, l := policy.Compile(b.res.System, b.res.Set, append([]policy.Source{{Name: "policy.cedar", Text: strings.Join(src.policies, "\n")}}, b.res.Library...), options...)
	ok, mine := true, false
	for _, f := range l {
		if f.Severity != diag.Error {
			continue
		}
		if ok = false; f.Pos.File == "policy.cedar" && src.policies[f.Pos.Line-1] != "" {
			src.policies[f.Pos.Line-1] = ""
			mine = true
			x.stats.refused++
		}
	}
	for n := 0; !ok && !mine && n < 3; n++ { // with what a model does they are too many for one message, or for one word
		var left []int
		for i, p := range src.policies {
			if strings.Contains(p, "@enter(") || p != "" && !strings.Contains(strings.Join(src.policies, ""), "@enter(") {
				left = append(left, i)
			}
		}
		if len(left) > 0 {
			src.policies[pick(g.r, left...)] = ""
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
	each := int(number64(t, envEach, perRoute))
	workers := int(number64(t, envWorkers, defaultWorkers))
	start := time.Now()
	var mu sync.Mutex
	var total stats
	var next uint64
	var failed error
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				if failed != nil || total.messages >= limit {
					mu.Unlock()
					return
				}
				mu.Unlock()
				x := &runner{validator: validator, each: each, handles: true}
				err := x.system(seed, i, limit)
				var m *mismatch
				if errors.As(err, &m) {
					err = fmt.Errorf("mismatch: %v\nreduced to: %v", m, shrink(m, damage{}, validator))
				}
				mu.Lock()
				if err != nil && failed == nil {
					failed = fmt.Errorf("%s=%d, system %d: %w", envSeed, seed, i, err)
				}
				total.add(&x.stats)
				if testing.Verbose() && i%100 == 99 {
					t.Logf("%v: %v", time.Since(start).Round(time.Second), &total)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if failed != nil {
		t.Fatal(failed)
	}
	s := &total
	t.Logf("%v; no mismatch, %v", s, time.Since(start).Round(100*time.Millisecond))
	if s.permits < s.messages/10 || s.forbids < s.messages/50 || s.defaults < s.messages/20 || s.bodies < s.messages/20 || s.cedar < s.messages/4 ||
		s.states < s.messages/400 || s.rates < s.messages/400 || s.changed < s.messages/400 || s.library < s.messages/10 ||
		s.messages >= defaultMessages && (s.carried == 0 || s.handles == 0) {
		t.Error("the generator is out of balance")
	}
}

// expressions calls f for every condition of an image, from the outside in.
func expressions(img *image.Image, f func(*image.Expr)) {
	var each func(e *image.Expr)
	each = func(e *image.Expr) {
		f(e)
		for i := range e.Args {
			each(&e.Args[i])
		}
	}
	decisions(img, func(d *image.Decision) {
		for _, rules := range [][]image.Rule{d.Forbid, d.Permit} {
			for i := range rules {
				each(&rules[i].When)
			}
		}
	})
}

func decisions(img *image.Image, f func(*image.Decision)) {
	for r := range img.Routes {
		for m := range img.Routes[r].Methods {
			f(&img.Routes[r].Methods[m].Request)
			f(&img.Routes[r].Methods[m].Reply)
		}
	}
}

func fields(img *image.Image, f func(*image.Field)) {
	for m := range img.Messages {
		for i := range img.Messages[m].Fields {
			f(&img.Messages[m].Fields[i])
		}
	}
}

// bounded reports whether a field has a range that ends before its type does.
func bounded(f *image.Field) bool {
	return f.HasRange && f.Type <= image.Sfixed64 && f.Max < math.MaxInt32 && int64(f.Max) > 0 && len(f.Values) == 0
}

// wrongs are the damages of the positive controls.
var wrongs = []struct {
	name  string
	form  bool // says nothing about the meaning of a message
	spoil func(*image.Image)
}{
	{"less becomes less or equal", false, func(img *image.Image) {
		expressions(img, func(e *image.Expr) {
			if e.Op == image.Less {
				e.Op = image.LessEq
			}
		})
	}},
	{"not is left out", false, func(img *image.Image) {
		expressions(img, func(e *image.Expr) {
			if e.Op == image.Not {
				*e = image.Expr{Op: image.And, Args: e.Args}
			}
		})
	}},
	{"a prefix of a text is the text", false, func(img *image.Image) {
		expressions(img, func(e *image.Expr) {
			if e.Op == image.Prefix {
				e.Op = image.Eq
			}
		})
	}},
	{"what is absent is there", false, func(img *image.Image) {
		expressions(img, func(e *image.Expr) {
			if e.Op == image.Has {
				*e = image.Expr{Op: image.True}
			}
		})
	}},
	{"metadata is that of another key", false, func(img *image.Image) {
		other := func(p []uint32) []uint32 {
			if len(p) == 2 && p[0] == 0 && p[1] < 5 {
				return []uint32{0, p[1]%4 + 1}
			}
			return p
		}
		expressions(img, func(e *image.Expr) {
			e.Path, e.Left.Path, e.Right.Path = other(e.Path), other(e.Left.Path), other(e.Right.Path)
		})
	}},
	{"users are nobody", false, func(img *image.Image) {
		expressions(img, func(e *image.Expr) {
			if e.Op == image.User || e.Op == image.Group {
				*e = image.Expr{Op: image.False}
			}
		})
	}},
	{"forbids are dropped", false, func(img *image.Image) {
		decisions(img, func(d *image.Decision) { d.Forbid = nil })
	}},
	{"the last permit is named, not the first", true, func(img *image.Image) {
		decisions(img, func(d *image.Decision) { slices.Reverse(d.Permit) })
	}},
	{"a number may be one more", false, func(img *image.Image) {
		fields(img, func(f *image.Field) {
			if bounded(f) {
				f.Max++
			}
		})
	}},
	{"a number may be one less", false, func(img *image.Image) {
		fields(img, func(f *image.Field) {
			if bounded(f) && f.Max > f.Min {
				f.Max--
			}
		})
	}},
	{"a length may be one more", false, func(img *image.Image) {
		fields(img, func(f *image.Field) {
			if f.Type == image.String || f.Type == image.Bytes {
				f.MaxLen++
			}
		})
	}},
	{"an element more", false, func(img *image.Image) {
		fields(img, func(f *image.Field) {
			if f.Card == image.Repeated {
				f.MaxItems++
			}
		})
	}},
	{"nothing is required", false, func(img *image.Image) {
		fields(img, func(f *image.Field) { f.Required = false })
	}},
	{"an oneof has two members", true, func(img *image.Image) {
		for i := range img.Messages {
			img.Messages[i].Required = nil
		}
		fields(img, func(f *image.Field) { f.Oneof = 0 })
	}},
	{"a state may go anywhere", false, func(img *image.Image) {
		for i := range img.States {
			s := &img.States[i]
			s.Moves = nil
			for from := range s.Values {
				for to := range s.Values {
					if from != to {
						s.Moves = append(s.Moves, image.Move{From: uint32(from), To: uint32(to)})
					}
				}
			}
		}
	}},
	{"only the first permit has its effects", false, func(img *image.Image) {
		decisions(img, func(d *image.Decision) {
			for i := range d.Permit {
				if i > 0 {
					d.Permit[i].Enter, d.Permit[i].Rate = nil, image.Rate{}
				}
			}
		})
	}},
	{"a token more", false, func(img *image.Image) {
		decisions(img, func(d *image.Decision) {
			for i := range d.Permit {
				if d.Permit[i].Rate != (image.Rate{}) {
					d.Permit[i].Rate.Burst++
				}
			}
		})
	}},
	{"a state is another", false, func(img *image.Image) {
		expressions(img, func(e *image.Expr) {
			if e.Op == image.Eq && e.Left.What == image.CellValue {
				e.Right.Value.Long ^= 1
			}
		})
	}},
	{"any text of the class", false, func(img *image.Image) {
		fields(img, func(f *image.Field) { f.Class = [2]uint64{} })
	}},
}

// controlMessages is the number of messages within which a wrong filter must
// be caught. Most are within a thousand.
const controlMessages = 60_000

// catches runs systems until a damage is caught.
func catches(t *testing.T, d damage, v protovalidate.Validator) *mismatch {
	t.Helper()
	x := &runner{damage: d, validator: v, each: perRouteControl, always: true}
	for i := uint64(0); x.stats.messages < controlMessages; i++ {
		err := x.system(2026, i, controlMessages)
		var m *mismatch
		if errors.As(err, &m) {
			t.Logf("caught after %d messages: %s", x.stats.messages, m.what)
			return m
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("not caught")
	return nil
}

// TestCatches is the positive control: filters of wrong images are caught, and
// what catches them is reduced to a few lines.
func TestCatches(t *testing.T) {
	needRoot(t)
	for _, c := range wrongs {
		t.Run(c.name, func(t *testing.T) {
			d := damage{filter: c.spoil}
			switch m := catches(t, d, nil); c.name {
			case "forbids are dropped":
				reduced(t, m, d)
			case "a state may go anywhere":
				small := shrink(m, d, nil)
				t.Logf("reduced to: %v", small)
				// The state that it met, the call, the message.
				if len(small.history) > 4 || len(small.src.String()) > len(m.src.String())/2 {
					t.Errorf("reduced to %d steps", len(small.history))
				}
			}
		})
	}
}

// TestOraclesCatch is the positive control of Cedar and protovalidate: what
// the compiler gets wrong, the filter and Go agree on.
func TestOraclesCatch(t *testing.T) {
	needRoot(t)
	validator, err := protovalidate.New()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range wrongs {
		if c.form {
			continue // they see nothing of the wire form
		}
		t.Run(c.name, func(t *testing.T) {
			m := catches(t, damage{compile: c.spoil}, validator)
			if strings.HasPrefix(m.what, "the filter") {
				t.Errorf("the filter and Go do not agree: %v", m)
			}
		})
	}
}

// reduced checks that a dropped forbid is reduced to one forbid.
func reduced(t *testing.T, m *mismatch, d damage) {
	t.Helper()
	small := shrink(m, d, nil)
	forbids, other := 0, 0
	for _, p := range small.src.policies {
		if strings.Contains(p, " forbid (") {
			forbids++
		} else if p != "" {
			other++
		}
	}
	t.Logf("reduced to: %v", small)
	if forbids != 1 || other > 1 {
		t.Errorf("reduced to %d forbids and %d other policies", forbids, other)
	}
	if a, b := len(m.src.String()), len(small.src.String()); b > a/2 {
		t.Errorf("a system of %d bytes is reduced to %d", a, b)
	}
}
