package compile_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"ward/compile"
	"ward/filter"
	"ward/image"
)

// A mutant changes random places of an image, as somebody would who knows its
// layout: numbers to their limits or to those of neighbours, elements dropped,
// doubled, swapped or taken from elsewhere.
type mutant struct {
	*rand.Rand
	places []reflect.Value // numbers, strings and slices of the image
}

func (m *mutant) collect(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		m.collect(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			m.collect(v.Field(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			m.collect(v.Index(i))
		}
	case reflect.Slice:
		m.places = append(m.places, v)
		for i := range v.Len() {
			m.collect(v.Index(i))
		}
	default:
		m.places = append(m.places, v)
	}
}

var limits = []uint64{0, 1, 2, 7, 15, 16, 31, 47, 48, 63, 64, 65, 127, 128, 255, 256, 1 << 14, 1<<15 - 1, 1 << 15, 1<<16 - 1, 1 << 16, 1<<31 - 1, 1 << 31, 1<<32 - 2, 1<<32 - 1, 1 << 60, 1<<63 - 1, 1 << 63, 1<<64 - 1}

func (m *mutant) change() {
	v := m.places[m.IntN(len(m.places))]
	n := limits[m.IntN(len(limits))]
	near := m.IntN(2) == 0
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint:
		if near {
			n = v.Uint() + uint64(m.IntN(7)) - 3
		}
		v.SetUint(n & (1<<(8*v.Type().Size()-1)<<1 - 1))
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Int:
		if near {
			n = uint64(v.Int() + int64(m.IntN(7)) - 3)
		}
		if v.SetInt(int64(n)); v.Int() != int64(n) {
			v.SetInt(int64(n & 0xff))
		}
	case reflect.String:
		w := m.places[m.IntN(len(m.places))]
		if w.Kind() == reflect.String && near {
			v.SetString(w.String())
		} else if s := v.String(); s != "" {
			v.SetString(s[:m.IntN(len(s))])
		} else {
			v.SetString("x")
		}
	case reflect.Slice:
		m.slice(v)
	}
}

func (m *mutant) slice(v reflect.Value) {
	k := v.Len()
	fresh := reflect.MakeSlice(v.Type(), 0, k+1)
	fresh = reflect.AppendSlice(fresh, v)
	if k == 0 {
		v.Set(reflect.Append(fresh, reflect.Zero(v.Type().Elem())))
		return
	}
	i, j := m.IntN(k), m.IntN(k)
	switch m.IntN(5) {
	case 0:
		fresh = reflect.AppendSlice(fresh.Slice(0, i), v.Slice(i+1, k))
	case 1:
		fresh = reflect.Append(fresh, v.Index(i))
	case 2:
		fresh.Index(i).Set(v.Index(j))
		fresh.Index(j).Set(v.Index(i))
	case 3:
		for range min(m.IntN(300), 20000/k) {
			fresh = reflect.Append(fresh, v.Index(i))
		}
	case 4: // of the same type, from elsewhere
		w := m.places[m.IntN(len(m.places))]
		if w.Kind() == reflect.Slice && w.Type() == v.Type() {
			fresh = reflect.AppendSlice(fresh, w)
		}
	}
	v.Set(fresh)
}

// TestAttackImageReaders: whatever passes image.Check does not make the filter
// generator or the comparison with a running image fail otherwise than by an error.
func TestAttackImageReaders(t *testing.T) {
	var seeds [][]byte
	for _, pattern := range []string{"../examples/*/system.yaml", "../models/testdata/*/system.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			r, l := compile.Dir(os.DirFS(filepath.Dir(f)))
			if l.Failed() || r.Image == nil {
				continue
			}
			seeds = append(seeds, image.Encode(r.Image))
		}
	}
	if len(seeds) < 3 {
		t.Fatalf("%d images", len(seeds))
	}
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	passed, built := 0, 0
	for n := range rounds {
		rnd := rand.New(rand.NewPCG(1, uint64(n)))
		seed := seeds[n%len(seeds)]
		before, err := image.Decode(seed)
		if err != nil {
			t.Fatal(err)
		}
		img, _ := image.Decode(seed)
		m := &mutant{Rand: rnd}
		m.collect(reflect.ValueOf(img))
		for range 1 + rnd.IntN(3) {
			m.change()
		}
		b := image.Encode(img)
		if img, err = image.Decode(b); err != nil {
			continue
		}
		passed++
		func() {
			defer func() {
				if p := recover(); p != nil {
					file := filepath.Join(t.TempDir(), "image")
					os.WriteFile(file, b, 0o600)
					t.Fatalf("round %d: what passes image.Check makes its readers panic: %v", n, p)
				}
			}()
			for i := range img.Routes {
				atoms := filter.Atoms{User: -1}
				if _, err := filter.Build(img, uint32(i), atoms); err == nil {
					built++
				}
			}
			image.Align(before, img)
			img.Aligned(before)
		}()
	}
	if passed < rounds/20 || built < passed {
		t.Errorf("a control: of %d images %d pass the check, and %d routes are built", rounds, passed, built)
	}
	t.Logf("%d of %d images pass the check; %d routes", passed, rounds, built)
}
