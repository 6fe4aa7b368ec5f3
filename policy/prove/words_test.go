package prove

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"ward/image"
)

// Random conditions on short texts of few characters: the walk finds a text
// exactly if one of all texts is as the conditions say, and what it finds is.
func TestWordsAgainstAllTexts(t *testing.T) {
	rounds, none := 3000, 0
	rnd := rand.New(rand.NewPCG(7, 11))
	for round := range rounds {
		f := &image.Field{Type: image.String, MaxLen: uint32(rnd.IntN(6)), MinLen: uint32(rnd.IntN(3)), Class: class("ab-")}
		alphabet := []string{"a", "b", "-"}
		if round%3 == 0 {
			f.Class, alphabet = [2]uint64{}, []string{"a", "b", "é", "z", "ü", "語"} // z, ü and 語 stand for all others of their length
		}
		if rnd.IntN(3) == 0 {
			f.MinRunes = uint32(rnd.IntN(3))
			f.MaxRunes = max(1, f.MinRunes) + uint32(rnd.IntN(2))
		}
		if rnd.IntN(4) == 0 {
			f.Required = true
		}
		word := func() string {
			var b strings.Builder
			for range rnd.IntN(3) {
				b.WriteString(alphabet[rnd.IntN(min(3, len(alphabet)))])
			}
			return b.String()
		}
		x := newText(f)
		said := []string{fmt.Sprintf("bytes %d to %d, characters %d to %d, required %v", f.MinLen, f.MaxLen, f.MinRunes, f.MaxRunes, f.Required)}
		for range 1 + rnd.IntN(5) {
			e, holds := condition(rnd, word), rnd.IntN(2) == 0
			if x.eval(e) != unsure {
				continue
			}
			if x = x.assume(e, holds); x.finite {
				break
			}
			said = append(said, fmt.Sprintf("op %d %q %v %v", e.Op, e.Right.Value.String, e.Set, holds))
		}
		if x.finite {
			continue
		}
		want := false
		for _, v := range allTexts(alphabet, int(f.MaxLen)) {
			want = want || x.admits(v)
		}
		v, found, all := x.words()
		switch {
		case found && !x.admits(v):
			t.Fatalf("round %d: %q is not as\n%s", round, v, strings.Join(said, "\n"))
		case found != want && (want || !found) && all, found && !want:
			t.Fatalf("round %d: found %v (%q), there is one %v\n%s", round, found, v, want, strings.Join(said, "\n"))
		case !found && !all && f.MaxRunes == 0:
			t.Fatalf("round %d: gave up on\n%s", round, strings.Join(said, "\n"))
		}
		if !want {
			none++
		}
	}
	if none < rounds/50 {
		t.Errorf("only %d of %d rounds had no text: they show little", none, rounds)
	}
}

func condition(rnd *rand.Rand, word func() string) *image.Expr {
	str := func(s string) image.Value { return image.Value{IsString: true, String: s} }
	e := &image.Expr{Op: image.Like}
	switch rnd.IntN(5) {
	case 0:
		e.Op, e.Right.Value = image.Prefix, str(word())
	case 1:
		e.Op, e.Right.Value = image.Suffix, str(word())
	case 2:
		e.Op, e.Right.Value = image.Eq, str(word())
	default:
		for range 2 + rnd.IntN(3) {
			e.Set = append(e.Set, str(word()))
		}
	}
	return e
}

// allTexts are those of up to max bytes.
func allTexts(alphabet []string, max int) []string {
	all := []string{""}
	for from := 0; from < len(all); from++ {
		for _, c := range alphabet {
			if len(all[from])+len(c) <= max {
				all = append(all, all[from]+c)
			}
		}
	}
	return all
}

func class(chars string) (c [2]uint64) {
	for _, r := range chars {
		c[r/64] |= 1 << (r % 64)
	}
	return c
}

// What cannot be decided within the bound on states is not said to be impossible.
func TestWordsGiveUp(t *testing.T) {
	f := &image.Field{Type: image.String, MaxLen: 4096}
	x := newText(f)
	like := func(holds bool, parts ...string) {
		e := &image.Expr{Op: image.Like}
		for _, p := range parts {
			e.Set = append(e.Set, image.Value{IsString: true, String: p})
		}
		x = x.assume(e, holds)
	}
	for i := range 24 {
		c := string(rune('a' + i))
		like(true, "", c+c+c+c, "")
		like(false, "", "", c+"x") // so that the plain guess does not do
	}
	if v, found, all := x.words(); found || all {
		t.Errorf("found %v (%q), all %v", found, v, all)
	}
	x = newText(f)
	x.not = map[string]bool{"\xff": true}
	x.field = &image.Field{Type: image.String, MaxLen: 0}
	if _, found, all := x.words(); found || all {
		t.Error("a condition on bytes that are no character was decided")
	}
}
