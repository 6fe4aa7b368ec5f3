package abi

import (
	"reflect"
	"strings"
	"testing"
)

// What is encoded is read again, and nothing shorter or longer is.
func TestProcessesRoundTrip(t *testing.T) {
	spawn := SpawnRequest{"worker", []string{"a.v1.S/M", ""}, 1 << 40, true, 1, 1 << 33, 3, 4, 5, ""}
	lend := LendRequest{"worker#1", "a.v1.S/M", 1 << 35, 9}
	list := []Child{{3072, "worker#1", "worker", 17, true, 2}, {}}
	children, n := EncodeChildren(list)
	if n != len(list) {
		t.Errorf("of %d children %d fit", len(list), n)
	}
	for _, c := range []struct {
		text  string
		want  any
		parse func(string) (any, error)
	}{
		{spawn.Encode(), spawn, func(s string) (any, error) { return ParseSpawn(s) }},
		{lend.Encode(), lend, func(s string) (any, error) { return ParseLend(s) }},
		{children, list, func(s string) (any, error) { return ParseChildren(s) }},
	} {
		got, err := c.parse(c.text)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("read %+v, %v; want %+v", got, err, c.want)
		}
		for i := range c.text {
			if _, err := c.parse(c.text[:i]); err == nil {
				t.Errorf("%T: the first %d bytes of %d are accepted", c.want, i, len(c.text))
			}
		}
		if _, err := c.parse(c.text + "x"); err == nil {
			t.Errorf("%T: a byte more is accepted", c.want)
		}
	}
}

// A ring is after all that programs without one send, and there or not: each
// request has one form.
func TestSpawnInRing(t *testing.T) {
	plain := SpawnRequest{Template: "worker", Gates: 7}
	ringed := plain
	ringed.Ring = "user"
	text := ringed.Encode()
	if got, err := ParseSpawn(text); err != nil || !reflect.DeepEqual(got, ringed) {
		t.Errorf("read %+v, %v", got, err)
	}
	n := len(plain.Encode())
	if got, err := ParseSpawn(text[:n]); err != nil || !reflect.DeepEqual(got, plain) {
		t.Errorf("without a ring: %+v, %v", got, err)
	}
	for i := range text {
		if _, err := ParseSpawn(text[:i]); err == nil && i != n {
			t.Errorf("the first %d bytes of %d are accepted", i, len(text))
		}
	}
	for _, rest := range []string{"x", "\x00\x00", "\x01\x00"} {
		if _, err := ParseSpawn(text + rest); err == nil {
			t.Errorf("%q after it is accepted", rest)
		}
		if _, err := ParseSpawn(text[:n] + rest); err == nil {
			t.Errorf("%q in its place is accepted", rest)
		}
	}
}

// Of more children than fit an answer as many are encoded as do.
func TestManyChildrenFit(t *testing.T) {
	name := strings.Repeat("n", 63)
	list := make([]Child, 1024)
	for i := range list {
		list[i] = Child{ID: uint32(i), Name: name + "#1024", Template: name}
	}
	for from := 0; from < len(list); {
		text, n := EncodeChildren(list[from:])
		got, err := ParseChildren(text)
		if err != nil || n < 1 || !reflect.DeepEqual(got, list[from:from+n]) {
			t.Fatalf("%d from %d on, %v", n, from, err)
		}
		c := Control{Op: OpOK, Text: text}
		if _, err := c.AppendTo(nil); err != nil {
			t.Fatal(err)
		}
		from += n
	}
}

func FuzzParseSpawn(f *testing.F) {
	f.Add((&SpawnRequest{Template: "worker", Rights: []string{"a.v1.S/M"}}).Encode())
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := ParseSpawn(text); err == nil && s.Encode() != text {
			t.Errorf("%q is another spelling of %+v", text, s)
		}
		ParseLend(text)
		ParseChildren(text)
	})
}
