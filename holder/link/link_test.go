package link

import (
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func pair(t *testing.T) (*Conn, *Conn) {
	t.Helper()
	a, file, err := Pair("test")
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestMessages(t *testing.T) {
	a, b := pair(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if err := a.Tell(Put, "two", null, null); err != nil {
		t.Fatal(err)
	}
	kind, text, files, err := b.Hear()
	if err != nil || kind != Put || text != "two" || len(files) != 2 {
		t.Errorf("%d %q %d descriptors, %v", kind, text, len(files), err)
	}
	CloseAll(files)
	a.CloseSoon()
	if _, _, _, err := b.Hear(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

// What does not fit is an error, never a prefix; descriptors that nobody asked
// for do not arrive.
func TestTruncated(t *testing.T) {
	a, b := pair(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, send := range []func() error{
		func() error { return a.Try(make([]byte, 9)) },
		func() error { return a.Try([]byte("x"), null) },
	} {
		if err := send(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.Recv(make([]byte, 8), 0); !errors.Is(err, ErrTruncated) {
			t.Errorf("received: %v", err)
		}
	}
}

// Nobody waits for a side that does not read, longer than it wants to.
func TestFull(t *testing.T) {
	a, _ := pair(t)
	var err error
	for n := 0; err == nil && n < 1<<16; n++ {
		err = a.Try(make([]byte, 1024))
	}
	if !errors.Is(err, ErrFull) {
		t.Errorf("Try: %v", err)
	}
	if err := a.Send([]byte("x"), 10*time.Millisecond); !errors.Is(err, ErrFull) {
		t.Errorf("Send: %v", err)
	}
}

func TestPack(t *testing.T) {
	want := []string{"a", "", strings.Repeat("x", 5000), "b\x00c"}
	all := ""
	for _, w := range want {
		var fits bool
		if all, fits = Pack(all, w); !fits {
			t.Fatalf("%d bytes do not fit behind %d", len(w), len(all))
		}
	}
	if got, err := Unpack(all); err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	if same, fits := Pack(all, strings.Repeat("x", MaxMessage-len(all)-4)); fits || same != all {
		t.Error("more than a message has room for was packed")
	}
	if full, fits := Pack(all, strings.Repeat("x", MaxMessage-1-len(all)-4)); !fits || len(full) != MaxMessage-1 {
		t.Errorf("what just fits was not packed: %d bytes", len(full))
	}
	for _, bad := range []string{"\x01", "\x05\x00\x00\x00abcd", "\xff\xff\xff\xffabc"} {
		if got, err := Unpack(bad); err == nil {
			t.Errorf("%q was taken for %q", bad, got)
		}
	}
}

// Who ends with something unread is heard to the end all the same.
func TestLastWords(t *testing.T) {
	a, b := pair(t)
	if err := b.Tell(Stop, "unread"); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"first", "last"} {
		if err := a.Tell(Put, text); err != nil {
			t.Fatal(err)
		}
	}
	a.Close()
	for _, want := range []string{"first", "last"} {
		if _, got, _, err := b.Hear(); got != want || err != nil {
			t.Errorf("heard %q, %v; want %q", got, err, want)
		}
	}
	if _, _, _, err := b.Hear(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}
