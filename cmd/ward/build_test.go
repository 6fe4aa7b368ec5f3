package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ward/image"
	"ward/kernel"
	"ward/system"
)

// What the confined compiler says becomes paths of files that are written.
func TestPlausible(t *testing.T) {
	img := &image.Image{Domains: []image.Domain{{Name: "worker"}}}
	for _, c := range []struct {
		domain, pkg string
		ok          bool
	}{
		{"worker", "./cmd/worker", true}, {"worker", "worker", true}, {"worker", ".", true},
		{"other", "worker", false}, {"../../etc/cron.d/x", "worker", false},
		{"worker", "../elsewhere", false}, {"worker", "/root/x", false}, {"worker", "a/../../b", false},
	} {
		if err := plausible(img, map[string]string{c.domain: c.pkg}); (err == nil) != c.ok {
			t.Errorf("%s: %s: %v", c.domain, c.pkg, err)
		}
	}
}

func TestLinkable(t *testing.T) {
	program, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Skip(err)
	}
	linker, err := kernel.Interpreter(program)
	if err != nil || linker == "" {
		t.Skipf("needs a dynamically linked shell: %s", program)
	}
	for _, c := range []struct {
		domain image.Domain
		ok     bool
	}{
		{image.Domain{Program: program}, false},
		{image.Domain{Program: program, Host: true}, true},
		{image.Domain{Program: program, Files: []image.File{{Path: filepath.Dir(linker)}}}, true},
		{image.Domain{Program: "/nonexistent/program"}, true},
		{image.Domain{Program: "/etc/passwd"}, true},
	} {
		c.domain.Name = "d"
		err := linkable(&image.Image{Domains: []image.Domain{c.domain}})
		if (err == nil) != c.ok || err != nil && !strings.Contains(err.Error(), "domain d: "+program+" is dynamically linked") {
			t.Errorf("%+v: %v", c.domain, err)
		}
	}
}

func TestNoCacheInTmp(t *testing.T) {
	for _, v := range []string{"HOME", "XDG_CACHE_HOME", "SUDO_UID"} {
		t.Setenv(v, "")
	}
	if dir, err := cacheDir("sys", "."); err == nil {
		t.Errorf("without a home, programs are built to %s", dir)
	}
}

// A FIFO in the place of a source file is not waited for; the compiler, which
// has the rest too, refuses it where it is named.
func TestPackFIFO(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "system.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	done := make(chan error, 1)
	go func() { done <- packDirectory(&b, dir, nil) }()
	select {
	case err := <-done:
		if err != nil {
			t.Fatalf("a FIFO: %v", err)
		}
		files, err := unpackDirectory(&b)
		if err != nil {
			t.Fatal(err)
		}
		if _, l := system.Load(files); !strings.Contains(l.Error(), "not a regular file") {
			t.Errorf("a FIFO: %v", l)
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits for a writer")
		if f, err := os.OpenFile(filepath.Join(dir, "system.yaml"), os.O_RDWR, 0); err == nil { // ends the wait
			<-done
			f.Close()
		}
	}
}
