package filter

import (
	"math/rand/v2"
	"testing"

	"golang.org/x/net/bpf"

	"ward/abi"
	"ward/image"
)

// classicImage has a method of each shape, and one that no policy permits.
func classicImage() *image.Image {
	permit := image.Decision{Permit: []image.Rule{{When: image.Expr{Op: image.True}}}}
	both := image.MethodPolicy{Request: permit, Reply: permit}
	restricted := image.Decision{Permit: []image.Rule{{When: image.Expr{Op: image.Has, Path: []uint32{1}}}}}
	silent := image.Decision{Permit: permit.Permit, Silent: true}
	img := &image.Image{
		Metadata: []image.Metadata{{Key: "trace", Max: 20}},
		Messages: []image.Message{{Fields: []image.Field{{Number: 1, Type: image.Bytes, MaxLen: 40}}}, {Fields: []image.Field{{Number: 1, Type: image.Bool}}}},
		Interfaces: []image.Interface{{Name: "t.T", Methods: []image.Method{
			{Name: "Unary", Reply: 1}, {Name: "Up", ClientStream: true, Request: 1}, {Name: "Down", ServerStream: true}, {Name: "Both", ClientStream: true, ServerStream: true},
			{Name: "Terse"}, {Name: "TerseDown", ServerStream: true}, {Name: "Down only", ServerStream: true}, {Name: "Closed"},
		}}},
		Routes: []image.Route{{Methods: []image.MethodPolicy{both, both, both, both, {Request: permit, Reply: restricted}, {Request: permit, Reply: restricted}, {Request: silent, Reply: silent}, {}}}},
	}
	return img
}

// TestClassic runs classic programs on many packets, good ones with one thing
// changed, and compares with the rules in Go.
func TestClassic(t *testing.T) {
	img := classicImage()
	r := &img.Routes[0]
	rnd := rand.New(rand.NewPCG(1, 2))
	for dir := range abi.Direction(2) {
		program, err := Classic(img, 0, dir)
		if err != nil {
			t.Fatal(err)
		}
		vm, err := bpf.NewVM(program)
		if err != nil {
			t.Fatal(err)
		}
		passed := map[abi.Kind]int{}
		for range 100_000 {
			h := abi.Header{Kind: abi.Kind(rnd.IntN(9)), Method: uint32(rnd.IntN(9)), Slot: uint16(rnd.IntN(abi.Slots)), Gen: uint16(rnd.Uint32())}
			plain, section, ok := img.Payload(r, h.Method, dir, h.Kind, h.Method >= 4 && h.Method < 7)
			limit := plain
			if rnd.IntN(2) == 0 {
				h.Flags, limit = abi.FlagMetadata, section
				ok = ok && section > 0
			}
			size := rnd.IntN(int(limit) + 2)
			if rnd.IntN(4) == 0 {
				size = int(limit) + rnd.IntN(2)
			}
			h.Length = uint32(size)
			ok = ok && size <= int(limit)
			switch rnd.IntN(12) {
			case 0:
				h.Length++
				ok = false
			case 1:
				h.Length += 1 << (8 * (1 + rnd.IntN(3)))
				ok = false
			case 2:
				h.Slot = abi.Slots << rnd.IntN(8)
				ok = false
			case 3:
				h.Flags |= 2 << rnd.IntN(14)
				ok = false
			case 4:
				h.Deadline = 1 << rnd.IntN(64)
				ok = ok && dir == abi.Request
			case 5:
				h.Method |= 1 << (8 + rnd.IntN(24))
				ok = false
			}
			packet := make([]byte, abi.HeaderSize+size)
			h.Put(packet)
			switch rnd.IntN(30) {
			case 0:
				packet[0]++
				ok = false
			case 1:
				packet = packet[:rnd.IntN(abi.HeaderSize)]
				ok = false
			}
			n, err := vm.Run(packet)
			if err != nil {
				t.Fatal(err)
			}
			if (n > 0) != ok {
				t.Fatalf("direction %d, %+v, %d bytes: the filter returns %d, want passed %v", dir, h, len(packet), n, ok)
			}
			if ok {
				passed[h.Kind]++
			}
		}
		if len(passed) != 5 {
			t.Errorf("direction %d: kinds that passed: %v", dir, passed)
		}
	}
}

// TestClassicLimit: an interface with as many methods as an image may have
// fits, or the error says what to do.
func TestClassicLimit(t *testing.T) {
	img := classicImage()
	m, p := img.Interfaces[0].Methods[0], img.Routes[0].Methods[0]
	for range 50 {
		img.Interfaces[0].Methods, img.Routes[0].Methods = append(img.Interfaces[0].Methods, m), append(img.Routes[0].Methods, p)
	}
	if _, err := Classic(img, 0, abi.Request); err != nil {
		t.Errorf("55 methods: %v", err)
	}
	for range 1000 {
		img.Interfaces[0].Methods, img.Routes[0].Methods = append(img.Interfaces[0].Methods, m), append(img.Routes[0].Methods, p)
	}
	if _, err := Classic(img, 0, abi.Request); err == nil {
		t.Error("1,055 methods fit")
	}
}
