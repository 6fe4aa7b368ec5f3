package nginxbench

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// A page is a file that is asked for.
type page struct {
	path string // below the root of the site, without a slash before it
	size int    // bytes
}

func (p page) ask() []byte { return []byte("GET /" + p.path + " HTTP/1.1\r\nHost: bench\r\n\r\n") }

// A site is what is served, and how often each page is asked for.
type site struct {
	pages []page
	until []float64 // of each page, the frequencies of it and of those before it; nil: there is one
}

// oneFile is a site of one file.
func oneFile(size int) *site { return &site{pages: []page{{"file", size}}} }

// mixedSite is that of SPECweb96 (its workload page, tables 1 and 2): four
// classes of nine sizes each, in as many directories as there are. SPECweb99
// has the same classes and frequencies; the directories are drawn by Zipf's law
// with an exponent of 1 as it does (Ruan and Pai, USENIX 2006, section 2). Within
// a class each size is as frequent as the others, while SPECweb's middle ones are
// more frequent: the mean is the same, about 15,000 bytes.
func mixedSite() *site {
	const directories, sizes = 4, 9
	classes := []struct{ step, frequency float64 }{{102.4, .35}, {1024, .50}, {10240, .14}, {102400, .01}}
	weights := 0.0
	for d := range directories {
		weights += 1 / float64(d+1)
	}
	s, sum := &site{}, 0.0
	for d := range directories {
		for c, class := range classes {
			for n := 1; n <= sizes; n++ {
				s.pages = append(s.pages, page{fmt.Sprintf("dir%d/class%d_%d", d, c, n), int(class.step * float64(n))})
				sum += class.frequency / sizes / float64(d+1) / weights
				s.until = append(s.until, sum)
			}
		}
	}
	return s
}

// draw returns what draws a page for each request of a connection in a turn:
// from the same numbers the same ones.
func (s *site) draw(turn, connection int) func() int {
	if s.until == nil {
		return func() int { return 0 }
	}
	r := rand.New(rand.NewPCG(uint64(turn), uint64(connection)))
	return func() int { return s.at(r.Float64()) }
}

// at returns the page at x, which is at least 0 and less than 1.
func (s *site) at(x float64) int {
	low, high := 0, len(s.until)-1 // the sum of all may be a little less than 1
	for low < high {
		if mid := (low + high) / 2; x < s.until[mid] {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}

// write makes the site's files below root, which is there.
func (s *site) write(root string) error {
	for _, p := range s.pages {
		name := filepath.Join(root, filepath.FromSlash(p.path))
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, make([]byte, p.size), 0o644)); err != nil {
			return err
		}
	}
	return nil
}
