package main

import (
	"hash/fnv"
	"image"
	"image/color"
	"math"
)

// draw paints a planet. Its colour and its place follow from the title.
func draw(title string, width, height int) image.Image {
	h := fnv.New32a()
	h.Write([]byte(title))
	seed := h.Sum32()
	x0, y0 := 0.3+0.4*float64(seed&0xff)/255, 0.3+0.4*float64(seed>>8&0xff)/255
	surface := color.NRGBA{uint8(128 + seed>>16&0x7f), uint8(96 + seed>>20&0x7f), uint8(80 + seed>>24&0x7f), 255}
	picture := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			dx, dy := float64(x)/float64(width)-x0, (float64(y)/float64(height)-y0)*float64(height)/float64(width)
			c := color.NRGBA{4, 6, uint8(16 + 40*y/height), 255}
			if r := math.Hypot(dx, dy); r < 0.2 {
				light := math.Sqrt(1 - r*r/0.04)
				c = color.NRGBA{shade(surface.R, light), shade(surface.G, light), shade(surface.B, light), 255}
			}
			picture.SetNRGBA(x, y, c)
		}
	}
	return picture
}

func shade(c uint8, light float64) uint8 { return uint8(float64(c) * light) }
