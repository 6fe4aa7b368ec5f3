package admin

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// answers listens in place of a monitor, and gives one of texts to each question;
// then, and for "" at once, it ends each connection. asked is how many came.
func answers(t *testing.T, texts ...string) (dir string, asked func() int) {
	t.Helper()
	dir = t.TempDir()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, Socket), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	n, done := 0, make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Read(make([]byte, MaxRequest))
			if n < len(texts) {
				io.WriteString(conn, texts[n])
			}
			n++
			conn.Close()
		}
	}()
	stop := func() int {
		l.Close()
		<-done
		return n
	}
	t.Cleanup(func() { stop() })
	return dir, stop
}

const (
	twoDomains = `{"index":0,"domain":"a","state":"running"}` + "\n" + `{"index":1,"domain":"b","state":"running"}` + "\n"
	twoStates  = `{"state":"door","cell":1,"value":"open"}` + "\n" + `{"state":"door","cell":2,"value":"shut"}` + "\n"
	ended      = `{"end":true}` + "\n"
)

// TestCutAnswers: an answer that ends before its end, wherever, is never taken for
// a whole one: it is asked for again, and if that is not answered whole either it is
// an error that says so. The control: with its end the same answer is taken.
func TestCutAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		whole string
		ask   func(dir string) (int, error) // how many it knows of
	}{
		"domains": {twoDomains + ended, func(dir string) (int, error) {
			all, err := PS(t.Context(), dir)
			return len(all), err
		}},
		"states": {twoStates + ended, func(dir string) (int, error) {
			all, err := States(t.Context(), dir)
			return len(all), err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir, asked := answers(t, c.whole)
			if n, err := c.ask(dir); n != 2 || err != nil || asked() != 1 {
				t.Fatalf("a whole answer: %d, %v", n, err)
			}
			for cut := range len(c.whole) {
				part := c.whole[:cut]
				dir, asked := answers(t, part, c.whole)
				if n, err := c.ask(dir); n != 2 || err != nil || asked() != 2 {
					t.Errorf("asked again after %q: %d, %v", part, n, err)
				}
				dir, asked = answers(t, part, part, part, part, part)
				n, err := c.ask(dir)
				if n != 0 || !errors.Is(err, ErrCut) || !strings.Contains(err.Error(), "ask again") || asked() != tries {
					t.Errorf("cut off each time after %q: %d, %v", part, n, err)
				}
			}
		})
	}
}

// A domain whole is not shown from a part of the answer either.
func TestCutDescription(t *testing.T) {
	whole := `{"index":1,"domain":"b","state":"running","descriptor":{"program":"/p"}}` + "\n" + ended
	for cut := range len(whole) {
		dir, _ := answers(t, twoDomains+ended, whole[:cut], whole)
		if d, err := Describe(t.Context(), dir, "b"); err != nil || d.Descriptor == nil {
			t.Errorf("after %q: %+v, %v", whole[:cut], d, err)
		}
		dir, _ = answers(t, twoDomains+ended, whole[:cut], whole[:cut], whole[:cut])
		if d, err := Describe(t.Context(), dir, "b"); !errors.Is(err, ErrCut) || d.Name != "" {
			t.Errorf("cut off after %q: %+v, %v", whole[:cut], d, err)
		}
	}
}

// TestCutChanges: what changes something is asked once, and who asked is told that
// it is not known whether it was done. An ordered stop may be asked for twice. The
// control: what is refused is told as that.
func TestCutChanges(t *testing.T) {
	hash := strings.Repeat("00", 32)
	set := func(dir string) error {
		_, err := SetState(context.Background(), dir, hash, &State{}, 0, false)
		return err
	}
	dir, asked := answers(t, `{"state":"door"`, `{"state":"door"}`+"\n"+ended)
	if err := set(dir); !errors.Is(err, ErrCut) || !strings.Contains(err.Error(), "ward state") || asked() != 1 {
		t.Errorf("a state, cut off: %v", err)
	}
	dir, _ = answers(t, `{"error":"no"}`+"\n")
	if err := set(dir); err == nil || err.Error() != "no" {
		t.Errorf("a state, refused: %v", err)
	}
	dir, asked = answers(t, "", ended)
	if err := Down(t.Context(), dir); err != nil || asked() != 2 {
		t.Errorf("a stop whose monitor died first: %v", err)
	}
	// The monitor's end is what an upgrade begins with.
	dir, asked = answers(t, "", "")
	if err := Upgrade(t.Context(), dir); err != nil || asked() != 1 {
		t.Errorf("an upgrade: %v", err)
	}
	dir, _ = answers(t, `{"error":"nothing was upgraded: x"}`+"\n")
	if err := Upgrade(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "nothing was upgraded") {
		t.Errorf("an upgrade, refused: %v", err)
	}
}

// A system that has stopped before it could say so has stopped.
func TestDownAtTheEnd(t *testing.T) {
	dir := t.TempDir()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, Socket), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		conn.Read(make([]byte, MaxRequest))
		l.Close()
		conn.Close()
	}()
	if err := Down(t.Context(), dir); err != nil {
		t.Error(err)
	}
	if err := Down(t.Context(), dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("the control: a system that does not run: %v", err)
	}
}
