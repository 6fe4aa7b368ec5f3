package main

import (
	"os"
	"path/filepath"
	"testing"

	"ward/image"
)

// TestStartAdvice: of what keeps a domain from starting it is said where in
// system.yaml it stands, and what to do. Of other domains, and of what is in order,
// nothing is said.
func TestStartAdvice(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	program := filepath.Join(dir, "server")
	for path, mode := range map[string]os.FileMode{plain: 0o644, program: 0o755} {
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	yaml := "ward: 1\ndomains:\n  other: { program: /srv }\n  web: # " + dir + "/none\n    program: " + dir + "/sevrer\n    files: { " + dir + "/none: r }\n    listen: { http: \"tcp:127.0.0.1:80\" }\n"
	if err := os.WriteFile(filepath.Join(dir, "system.yaml"), []byte(yaml), 0o644); err != nil {
		t.Fatal(err)
	}
	at := "\n\t" + dir + "/system.yaml:"
	granted := image.Verdict{Allow: true}
	for _, c := range []struct {
		name, path, fatal string
		domain            image.Domain
		want              string
	}{
		{"a program that is not there", dir, "domain web: start web: execute: no such file or directory", image.Domain{Program: dir + "/sevrer"},
			at + "5:14: " + dir + "/sevrer does not exist; did you mean \"server\"?"},
		{"one that is none", dir, "domain web: start web: permission denied", image.Domain{Program: plain},
			"\n\tdomain web: " + plain + " is not executable: name the program's path, or make it executable (chmod +x)"},
		{"a file", dir, "domain web: start web: root of web: no such file or directory", image.Domain{Program: program, Files: []image.File{{Path: dir + "/none", Verdict: granted}}},
			at + "6:14: " + dir + "/none does not exist; make it first, or take it out of `files`"},
		{"a file that is forbidden is not needed", dir, "domain web: start web: x", image.Domain{Program: program, Files: []image.File{{Path: dir + "/none"}}}, ""},
		{"a port", dir, "domain web: start web: bind http: address already in use", image.Domain{Program: program, Listen: []image.Listen{{Name: "http", Address: "tcp:127.0.0.1:80"}}},
			at + "7:22: somebody has tcp:127.0.0.1:80 already: 'ss -lnp' says who; end that, or state another port"},
		{"an address", dir, "domain web: start web: bind http: cannot assign requested address", image.Domain{Program: program, Listen: []image.Listen{{Name: "http", Address: "tcp:127.0.0.1:80"}}},
			at + "7:22: no interface of this host has the address of tcp:127.0.0.1:80: state one that 'ip addr' shows, or *"},
		{"another socket", dir, "domain web: start web: bind http: address already in use", image.Domain{Program: program, Listen: []image.Listen{{Name: "https", Address: "tcp:127.0.0.1:443"}}}, ""},
		{"from an image", plain, "domain web: start web: execute: no such file or directory", image.Domain{Program: dir + "/sevrer"},
			"\n\tdomain web: " + dir + "/sevrer does not exist; did you mean \"server\"?"},
		{"no domain", dir, "domain names: x", image.Domain{Program: dir + "/sevrer"}, ""},
		{"something else", dir, "the run directory is full", image.Domain{Program: dir + "/sevrer"}, ""},
	} {
		c.domain.Name = "web"
		if got := startAdvice(c.path, &image.Image{Domains: []image.Domain{c.domain}}, c.fatal); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
