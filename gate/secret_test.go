package gate_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/gate"
	"ward/gate/gatetest"
)

// secretMonitor has secret memory, and other, that `keeper` makes.
func secretMonitor(t *testing.T) *gatetest.Monitor {
	t.Helper()
	if fd, err := unix.MemfdSecret(unix.O_CLOEXEC); err != nil {
		t.Skip("needs memfd_secret: Linux 6.5, or secretmem.enable=1")
	} else {
		unix.Close(fd)
	}
	m := gatetest.NewMonitor(t)
	m.Objects(map[string]*gatetest.Object{
		"keys":   {Size: 5000, Secret: true, Makers: []string{"keeper"}},
		"frames": {Size: 4096, Makers: []string{"keeper"}},
	})
	return m
}

// mapped are the lines of this process's mappings of secret memory.
func mapped(t *testing.T) (list []string) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "/secretmem") {
			list = append(list, line)
		}
	}
	return list
}

// open is how many descriptors of secret memory this process has, those of the test's monitor included.
func open(t *testing.T) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, _ := os.Readlink("/proc/self/fd/" + e.Name()); strings.Contains(to, "/secretmem") {
			n++
		}
	}
	return n
}

// Secret memory is mapped and not open; what is closed is zero, and used again.
func TestMakeSecret(t *testing.T) {
	m := secretMonitor(t)
	d := m.Domain("keeper")
	before := len(mapped(t))
	s, err := d.MakeSecret(t.Context(), "keys", 32)
	if err != nil {
		t.Fatal(err)
	}
	b := s.Bytes()
	if len(b) != 32 || cap(b) != 32 || s.Size() != 32 || !bytes.Equal(b, make([]byte, 32)) {
		t.Errorf("%d bytes: %x", len(b), b)
	}
	copy(b, "a key of thirty-two bytes, just!")
	if again := s.Bytes(); &again[0] != &b[0] || string(again) != "a key of thirty-two bytes, just!" {
		t.Errorf("again: %q", again)
	}
	if n := open(t); n != m.References("keeper") { // the monitor's own
		t.Errorf("%d are open", n)
	}
	if list := mapped(t); len(list) != before+1 || !strings.Contains(list[len(list)-1], "rw-s") {
		t.Errorf("mapped: %q", list)
	}
	first := &b[0]
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if s.Bytes() != nil || s.Size() != 32 {
		t.Errorf("closed: %d bytes of %d", len(s.Bytes()), s.Size())
	}
	whole, err := d.MakeSecret(t.Context(), "keys", 0)
	if err != nil {
		t.Fatal(err)
	}
	b = whole.Bytes()
	if len(b) != 5000 || &b[0] != first || !bytes.Equal(b, make([]byte, 5000)) {
		t.Errorf("used again: %d bytes, the same %v, of zeros %v", len(b), &b[0] == first, bytes.Equal(b, make([]byte, len(b))))
	}
	other, err := d.MakeSecret(t.Context(), "keys", 5000)
	if err != nil || &other.Bytes()[0] == first {
		t.Errorf("two have one memory, or: %v", err)
	}
	if n := m.References("keeper"); n != 2 {
		t.Errorf("%d references", n)
	}
}

func TestMakeSecretRefused(t *testing.T) {
	m := secretMonitor(t)
	d, stranger := m.Domain("keeper"), m.Domain("stranger")
	for _, size := range []int{-1, 1 << 30} {
		_, err := d.MakeSecret(t.Context(), "keys", size)
		wantCode(t, err, gate.InvalidArgument)
	}
	_, err := d.MakeSecret(t.Context(), "keys", 5001)
	wantCode(t, err, gate.ResourceExhausted)
	if s, err := d.MakeSecret(t.Context(), "keys", 1); err != nil || m.References("keeper") != 1 { // what was too small is used
		t.Errorf("%v, %v, %d references", s, err, m.References("keeper"))
	}
	_, err = stranger.MakeSecret(t.Context(), "keys", 0)
	if e := wantCode(t, err, gate.PermissionDenied); !strings.Contains(e.Message, `no policy lets stranger create Object::"keys"`) {
		t.Errorf("%v", e)
	}
	_, err = d.MakeSecret(t.Context(), "frames", 0)
	wantCode(t, err, gate.PermissionDenied)
	_, err = d.Make(t.Context(), "keys", 0)
	wantCode(t, err, gate.PermissionDenied)
}

// What a monitor that is wrong, or not the monitor, gives is not taken for secret.
func TestHostileSecret(t *testing.T) {
	m := secretMonitor(t)
	memfd := func(size int64) int {
		fd, err := unix.MemfdCreate("open", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Ftruncate(fd, size); err != nil {
			t.Fatal(err)
		}
		return fd
	}
	for name, tamper := range map[string]func(*abi.Control, []int) []int{
		"memory that others may have": func(_ *abi.Control, fds []int) []int {
			unix.Close(fds[0])
			return []int{memfd(5000)}
		},
		"of another size":         func(a *abi.Control, fds []int) []int { a.Size = 4096; return fds },
		"of a size beyond bounds": func(a *abi.Control, fds []int) []int { a.Size = 1 << 40; return fds },
		"to be read":              func(a *abi.Control, fds []int) []int { a.Access = abi.AccessRead; return fds },
		"without a number":        func(a *abi.Control, fds []int) []int { a.Handle = 0; return fds },
		"nothing": func(_ *abi.Control, fds []int) []int {
			unix.Close(fds[0])
			return nil
		},
	} {
		m.Tamper = func(_, a *abi.Control, fds []int) []int {
			if a.Op != abi.OpObject {
				return fds
			}
			return tamper(a, fds)
		}
		before := len(mapped(t))
		s, err := m.Domain("keeper").MakeSecret(t.Context(), "keys", 0)
		if e := new(gate.Error); s != nil || !errors.As(err, &e) || e.Code != gate.Internal {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(mapped(t)); n != before {
			t.Errorf("%s: it is mapped", name)
		}
	}
	m.Tamper = nil
	if _, err := m.Domain("keeper").MakeSecret(t.Context(), "keys", 0); err != nil { // the control
		t.Error(err)
	}
}

// An answer that nobody waits for any more is not lost: its memory is used next.
func TestSecretIsGivenUp(t *testing.T) {
	m := secretMonitor(t)
	d := m.Domain("keeper")
	asked, answer := make(chan struct{}), make(chan struct{})
	var once sync.Once
	m.Tamper = func(_, a *abi.Control, fds []int) []int {
		once.Do(func() { close(asked); <-answer })
		return fds
	}
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	go func() {
		_, err := d.MakeSecret(ctx, "keys", 0)
		got <- err
	}()
	<-asked
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) && gate.AsError(err).Code != gate.Canceled {
		t.Errorf("given up: %v", err)
	}
	close(answer)
	// Whoever asks takes it, once it has come: there is one more until then than is held.
	for held := 1; ; held++ {
		s, err := d.MakeSecret(t.Context(), "keys", 0)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if m.References("keeper") == held {
			return
		}
		if held > 1000 {
			t.Fatal("it is lost")
		}
	}
}

// Several goroutines make and close: none has what another has.
func TestSecretsTogether(t *testing.T) {
	m := secretMonitor(t)
	d := m.Domain("keeper")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 20 {
				s, err := d.MakeSecret(t.Context(), "keys", 64)
				if err != nil {
					t.Error(err)
					return
				}
				text := fmt.Sprintf("%d of %d", n, i)
				if b := s.Bytes(); !bytes.Equal(b, make([]byte, 64)) {
					t.Errorf("not zero: %q", b)
				} else if copy(b, text); !strings.HasPrefix(string(s.Bytes()), text) {
					t.Errorf("%q was written, %q is there", text, s.Bytes())
				}
				s.Close()
			}
		})
	}
	wg.Wait()
	if n := m.References("keeper"); n > 8 {
		t.Errorf("%d were made for eight", n)
	}
}
