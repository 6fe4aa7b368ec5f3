package abi

import (
	"bytes"
	"reflect"
	"testing"
)

// Messages about objects are read as they were written, and nothing shorter or
// longer is; the others have not changed by a byte.
func TestControlOfObjects(t *testing.T) {
	for _, c := range []Control{
		{Op: OpMake, Seq: 1, Name: "frames", Size: 1 << 20},
		{Op: OpMake, Seq: 1, Name: "frames"},
		{Op: OpOpenObject, Seq: 2, Name: "board", Access: AccessRead | AccessWrite},
		{Op: OpOffer, Seq: 3, Handle: 7, Block: 4, Access: AccessRead},
		{Op: OpRedeem, Seq: 4, Handle: 1<<40 | 3, Block: 2},
		{Op: OpDrop, Seq: 5, Handle: 1<<64 - 1},
		{Op: OpRetract, Seq: 6, Handle: 1 << 16, Block: 1},
		{Op: OpReceive, Seq: 7, Name: "orders"},
		{Op: OpObject, Seq: 1, Handle: 7, Size: 1 << 30, Access: AccessRead},
		{Op: OpOK, Seq: 3, Handle: 1 << 16},
	} {
		msg, err := c.AppendTo(nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseControl(msg)
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("read %+v, %v; want %+v", got, err, c)
		}
		plain := c
		plain.Handle, plain.Size, plain.Access = 0, 0, 0
		before, _ := plain.AppendTo(nil)
		for i := range msg {
			if _, err := ParseControl(msg[:i]); err == nil && i != len(before) {
				t.Errorf("op %d: the first %d bytes of %d are accepted", c.Op, i, len(msg))
			}
		}
		if _, err := ParseControl(append(bytes.Clone(msg), 0)); err == nil {
			t.Errorf("op %d: a byte more is accepted", c.Op)
		}
		if _, err := ParseControl(append(before, make([]byte, 17)...)); err == nil {
			t.Errorf("op %d: fields of objects that are all zero are accepted", c.Op)
		}
	}
}

// TestControlAsBefore: a program whose library does not know objects reads what
// is not about them.
func TestControlAsBefore(t *testing.T) {
	msg, err := (&Control{Op: OpOK, Seq: 1}).AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 49)
	want[0], want[2] = byte(OpOK), 1
	if !bytes.Equal(msg, want) {
		t.Errorf("OpOK is %x, %d bytes", msg, len(msg))
	}
}

func FuzzParseControl(f *testing.F) {
	for _, c := range []Control{
		{Op: OpOpen, Seq: 1, Interface: "a.v1.S", Name: "server"},
		{Op: OpOffer, Seq: 3, Handle: 7, Block: 4, Access: AccessRead},
		{Op: OpGate, Seq: 9, Methods: []ControlMethod{{Name: "M", MaxRequest: 1}}, Metadata: []string{"k"}, Policies: []string{"", "p"}},
	} {
		msg, _ := c.AppendTo(nil)
		f.Add(msg)
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		c, err := ParseControl(msg)
		if err != nil {
			return
		}
		if again, err := c.AppendTo(nil); err != nil || !bytes.Equal(again, msg) {
			t.Errorf("%x is another spelling of %+v", msg, c)
		}
	})
}
