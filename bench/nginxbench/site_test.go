package nginxbench

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// The mix has SPECweb96's classes and sizes; they are drawn as often as it says.
func TestMixedSite(t *testing.T) {
	s := mixedSite()
	if len(s.pages) != 4*4*9 || len(s.until) != len(s.pages) {
		t.Fatalf("%d pages, %d frequencies", len(s.pages), len(s.until))
	}
	if end := s.until[len(s.until)-1]; math.Abs(end-1) > 1e-9 {
		t.Errorf("all frequencies together: %v", end)
	}
	first := []int{102, 204, 307, 409, 512, 614, 716, 819, 921}
	var class [4]float64
	var directory [4]float64
	mean, before := 0.0, 0.0
	for i, p := range s.pages {
		d, c, n := i/36, i/9%4, i%9
		if c == 0 && p.size != first[n] || c > 0 && p.size != 1024*(n+1)*int(math.Pow10(c-1)) {
			t.Errorf("%s has %d bytes", p.path, p.size)
		}
		f := s.until[i] - before
		before = s.until[i]
		class[c], directory[d], mean = class[c]+f, directory[d]+f, mean+f*float64(p.size)
	}
	for c, want := range []float64{.35, .50, .14, .01} {
		if math.Abs(class[c]-want) > 1e-9 {
			t.Errorf("class %d is drawn %v of the time, want %v", c, class[c], want)
		}
	}
	for d := range directory {
		if want := directory[0] / float64(d+1); math.Abs(directory[d]-want) > 1e-9 {
			t.Errorf("directory %d is drawn %v of the time, want %v", d, directory[d], want)
		}
	}
	if mean < 15000 || mean > 15100 {
		t.Errorf("%v bytes a request", mean)
	}
}

// at finds the page whose share of [0, 1) x lies in.
func TestAt(t *testing.T) {
	s := mixedSite()
	before := 0.0
	for i, end := range s.until {
		for _, x := range []float64{before, (before + end) / 2, math.Nextafter(end, 0)} {
			if got := s.at(x); got != i {
				t.Errorf("at %v: page %d, want %d", x, got, i)
			}
		}
		before = end
	}
	if got := s.at(math.Nextafter(1, 0)); got != len(s.pages)-1 {
		t.Errorf("at the end: page %d", got)
	}
}

// All servers are asked for the same in a turn, and not in each turn the same.
func TestDraw(t *testing.T) {
	s := mixedSite()
	take := func(turn, connection int) (v []int) {
		draw := s.draw(turn, connection)
		for range 100 {
			v = append(v, draw())
		}
		return v
	}
	if !slices.Equal(take(3, 5), take(3, 5)) {
		t.Error("two servers are asked for different pages")
	}
	if slices.Equal(take(3, 5), take(4, 5)) || slices.Equal(take(3, 5), take(3, 6)) {
		t.Error("two turns, or two connections, ask for the same")
	}
}

func TestWriteSite(t *testing.T) {
	root := t.TempDir()
	s := mixedSite()
	if err := s.write(root); err != nil {
		t.Fatal(err)
	}
	for _, p := range s.pages {
		if info, err := os.Stat(filepath.Join(root, p.path)); err != nil || info.Size() != int64(p.size) {
			t.Errorf("%s: %v, %v", p.path, info, err)
		}
	}
}

// An answer that is longer than what is read at a time is read to its end.
func TestLoadMany(t *testing.T) {
	sizes := []int{1, readSize - 100, readSize, 3*readSize + 1}
	s := &server{site: &site{}}
	var answers []string
	for i, size := range sizes {
		s.site.pages = append(s.site.pages, page{strings.Repeat("p", i+1), size})
		answers = append(answers, answerOf("200 OK", size))
		s.answers = append(s.answers, len(answers[i]))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const rounds = 3
	c := answerer(t, func(n int) string {
		if n == rounds*len(sizes) {
			cancel()
		}
		return answers[(n-1)%len(sizes)]
	})
	next := -1
	draw := func() int { next = (next + 1) % len(sizes); return next }
	var count atomic.Int64
	if err := s.load(ctx, c, draw, &count); err != nil || count.Load() != int64(rounds*len(sizes)) {
		t.Errorf("%d answers, want %d; %v", count.Load(), rounds*len(sizes), err)
	}
}
