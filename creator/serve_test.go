package creator

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/image"
	"ward/kernel"
)

func TestStartRefused(t *testing.T) {
	w := newWorld(t, 0,
		image.Domain{Name: "denied", Program: hostile, Start: image.Verdict{Policy: abi.NoPolicy}},
		image.Domain{Name: "missing", Program: "/nonexistent/program"},
		image.Domain{Name: "notaprogram", Program: "/etc/passwd"},
		image.Domain{Name: "badfile", Program: hostile, Files: []image.File{{Path: "/nonexistent/file", Access: image.Read}}},
		image.Domain{Name: "tampered", Program: hostile, Digest: make([]byte, 32)},
		image.Domain{Name: "twice", Program: hostile, Args: []string{"idle"}},
	)
	for i, want := range []string{"policy does not allow", "/nonexistent/program: no such file", "execute /etc/passwd: permission denied", "/nonexistent/file: no such file", kernel.ErrDigest.Error()} {
		if _, err := w.start(i); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), w.img.Domains[i].Name) {
			t.Errorf("%s: %v; expected %q", w.img.Domains[i].Name, err, want)
		}
	}
	if _, err := w.start(5); err != nil {
		t.Fatal(err)
	}
	if _, err := w.start(5); err == nil || !strings.Contains(err.Error(), "is running") {
		t.Errorf("second start: %v", err)
	}
}

// TestDigest: a pinned program runs from a sealed copy; nothing of the file
// is in its root.
func TestDigest(t *testing.T) {
	b, err := os.ReadFile(hostile)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	w := newWorld(t, 0, image.Domain{Name: "pinned", Program: hostile, Digest: sum[:], Args: []string{"descriptors"}},
		image.Domain{Name: "pinned-idle", Program: hostile, Digest: sum[:], Args: []string{"idle"}})
	if out, _ := w.result(0); out != "done [0 1 2 3]" {
		t.Error(out)
	}
	l, err := w.start(1)
	if err != nil {
		t.Fatal(err)
	}
	l.ready(t)
	if exe := link(t, "/proc/"+strconv.Itoa(l.PID)+"/exe"); !strings.HasPrefix(exe, "/memfd:") {
		t.Errorf("runs %s", exe)
	}
}

func TestRestart(t *testing.T) {
	w := newWorld(t, 0, image.Domain{Name: "again", Program: hostile, Args: []string{"exit", "7"}})
	var last uint64
	for range 3 {
		l, err := w.start(0)
		if err != nil {
			t.Fatal(err)
		}
		if _, status := w.finish(l); status.ExitStatus() != 7 {
			t.Errorf("status %v", status)
		}
		if l.Cgroup != 0 && l.Cgroup == last {
			t.Error("two instances with one cgroup ID: an old gate would be the new one's")
		}
		last = l.Cgroup
	}
}

// TestHangup: when nobody is left to ask, all domains end and nothing stays.
func TestHangup(t *testing.T) {
	w := newWorld(t, 0, image.Domain{Name: "idle", Program: hostile, Args: []string{"idle"}}, image.Domain{Name: "idle2", Program: hostile, Args: []string{"idle"}, Host: true})
	var lives []*live
	for i := range w.img.Domains {
		l, err := w.start(i)
		if err != nil {
			t.Fatal(err)
		}
		l.ready(t)
		lives = append(lives, l)
	}
	cgroup := filepath.Dir(cgroupOf(t, "/proc/"+strconv.Itoa(lives[0].PID)))
	w.stop = true
	w.client.Close()
	if err := <-w.served; err != nil {
		t.Error(err)
	}
	for _, l := range lives {
		p := []unix.PollFd{{Fd: int32(l.Pidfd.Fd()), Events: unix.POLLIN}}
		if n, err := unix.Poll(p, 0); n != 1 {
			t.Errorf("process %d lives on: %v", l.PID, err)
		}
	}
	if _, err := os.Stat(cgroup); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("cgroup %s: %v", cgroup, err)
	}
	if _, err := w.client.Start(context.Background(), 0, os.Stdin, os.Stdout); !errors.Is(err, ErrGone) {
		t.Errorf("start after the end: %v", err)
	}
}

// TestProtocol: whatever is not in the dispatch table ends the creator.
func TestProtocol(t *testing.T) {
	needRoot(t)
	for name, b := range map[string][]byte{
		"unknown operation":    (&message{op: 15, seq: 1}).encode(),
		"answer as a request":  (&message{op: opStarted, seq: 1}).encode(),
		"start without files":  (&message{op: opStart, seq: 1}).encode(),
		"signal out of range":  (&message{op: opSignal, seq: 1, domain: 0, arg: 65}).encode(),
		"without a sequence":   (&message{op: opStop}).encode(),
		"part of a number":     (&message{op: opHeard, seq: 1, text: "x"}).encode(),
		"text in a request":    (&message{op: opStop, seq: 1, text: "x"}).encode(),
		"short":                {1, 2, 3},
		"longer than the most": make([]byte, headSize+maxText+1),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 0, image.Domain{Name: "idle", Program: hostile, Args: []string{"idle"}})
			l, err := w.start(0)
			if err != nil {
				t.Fatal(err)
			}
			l.ready(t)
			w.stop = true
			if _, err := unix.Write(w.client.fd, b); err != nil {
				t.Fatal(err)
			}
			if err := <-w.served; !errors.Is(err, errMessage) {
				t.Errorf("the creator ended with %v", err)
			}
			for range w.client.Exits() {
			}
			p := []unix.PollFd{{Fd: int32(l.Pidfd.Fd()), Events: unix.POLLIN}}
			if n, err := unix.Poll(p, 0); n != 1 {
				t.Errorf("the domain lives on: %v", err)
			}
		})
	}
}

func TestSignal(t *testing.T) {
	w := newWorld(t, 0, image.Domain{Name: "idle", Program: hostile, Args: []string{"idle"}})
	ctx := context.Background()
	if err := w.client.Signal(ctx, 0, syscall.SIGTERM); err == nil {
		t.Error("a signal to a domain that does not run")
	}
	l, err := w.start(0)
	if err != nil {
		t.Fatal(err)
	}
	l.ready(t)
	if err := w.client.Signal(ctx, 0, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if e := <-w.client.Exits(); e.Domain != abi.DomainID(0) || e.Status.ExitStatus() != 2 {
		t.Errorf("%+v", e) // a Go program's first process ends with 2: the signal itself does not kill process 1
	}
}

// TestMemory: a quota of memory holds, in whichever cgroup version has it.
func TestMemory(t *testing.T) {
	w := newWorld(t, 0,
		image.Domain{Name: "small", Program: hostile, Args: []string{"fill", "/tmp", "67108864"}, Tmp: 80 << 20, Quota: image.Quota{Memory: 32 << 20, CPUWeight: 50}},
		image.Domain{Name: "large", Program: hostile, Args: []string{"fill", "/tmp", "67108864"}, Tmp: 80 << 20})
	if out, _ := w.result(1); out != "done 67108864" {
		t.Fatalf("control: %q", out)
	}
	if out, status := w.result(0); out == "done 67108864" || !status.Signaled() {
		t.Errorf("%q, status %v", out, status)
	}
}
