package main

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A gallery is a directory of PNG files.
type gallery struct{ dir string }

// size is the width and height of the pictures that are kept, in pixels.
const size = 128

// paintings are what a new gallery is filled with: a colour for each point of
// the unit square.
var paintings = map[string]func(x, y float64) color.NRGBA{
	"dunes": func(x, y float64) color.NRGBA {
		h := 0.5 + 0.2*math.Sin(7*x) + 0.1*math.Sin(17*x)
		return shade(y > h, color.NRGBA{226, 190, 120, 255}, color.NRGBA{120, 180, 230, 255})
	},
	"harbour": func(x, y float64) color.NRGBA {
		wave := math.Sin(40*y) * math.Sin(9*x)
		return shade(y > 0.6, color.NRGBA{20, uint8(90 + 40*wave), 140, 255}, color.NRGBA{250, 210, 170, 255})
	},
	"night": func(x, y float64) color.NRGBA {
		d := math.Hypot(x-0.7, y-0.3)
		return shade(d < 0.15, color.NRGBA{240, 240, 210, 255}, color.NRGBA{10, 10, uint8(40 + 60*y), 255})
	},
	"draft-meadow": func(x, y float64) color.NRGBA {
		return color.NRGBA{uint8(60 * x), uint8(120 + 80*y), 60, 255}
	},
}

func shade(first bool, a, b color.NRGBA) color.NRGBA {
	if first {
		return a
	}
	return b
}

// openGallery makes the directory and paints what is not there yet.
func openGallery(dir string) (gallery, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return gallery{}, err
	}
	for name, paint := range paintings {
		picture := image.NewNRGBA(image.Rect(0, 0, size, size))
		for y := range size {
			for x := range size {
				picture.SetNRGBA(x, y, paint(float64(x)/size, float64(y)/size))
			}
		}
		var file bytes.Buffer
		if err := png.Encode(&file, picture); err != nil {
			return gallery{}, err
		}
		if err := os.WriteFile(filepath.Join(dir, name+".png"), file.Bytes(), 0o600); err != nil {
			return gallery{}, err
		}
	}
	return gallery{dir}, nil
}

// names lists at most limit pictures, in order.
func (g gallery) names(limit int) ([]string, error) {
	entries, err := os.ReadDir(g.dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".png"); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names[:min(limit, len(names))], nil
}

var errNoPicture = errors.New("no such picture")

// picture reads a picture and returns it as a PNG of the given size.
func (g gallery) picture(name string, width, height int, gray bool) ([]byte, error) {
	f, err := os.Open(filepath.Join(g.dir, name+".png"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", errNoPicture, name)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	kept, err := png.Decode(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var out bytes.Buffer
	err = png.Encode(&out, scale(kept, width, height, gray))
	return out.Bytes(), err
}

// scale takes the nearest point for each pixel.
func scale(from image.Image, width, height int, gray bool) image.Image {
	frame := image.Rect(0, 0, width, height)
	to := interface {
		image.Image
		Set(x, y int, c color.Color)
	}(image.NewNRGBA(frame))
	if gray {
		to = image.NewGray(frame)
	}
	b := from.Bounds()
	for y := range height {
		for x := range width {
			to.Set(x, y, from.At(b.Min.X+x*b.Dx()/width, b.Min.Y+y*b.Dy()/height))
		}
	}
	return to
}
