package main

import (
	"slices"
	"strings"
	"testing"

	"ward/image"
	"ward/kernel/probe"
	"ward/system"
)

// TestMechanismsAreTheDoctors: what system.yaml may require is what the doctor
// knows, by its names.
func TestMechanismsAreTheDoctors(t *testing.T) {
	want := append([]string{image.RequireKernel}, probe.Names()...)
	if !slices.Equal(system.Mechanisms, want) {
		t.Errorf("system.yaml may require\n%q, the doctor prints\n%q", system.Mechanisms, want)
	}
}

// TestRequired: a mechanism that the kernel lacks keeps a system from starting,
// and is named; one that it has does not, nor one that the running system asked
// for before.
func TestRequired(t *testing.T) {
	img := &image.Image{Name: "x", Require: []string{image.RequireKernel, "sealed memory", "seccomp filters"}}
	if err := required(img, nil); err != nil {
		t.Errorf("what every kernel has: %v", err)
	}
	img.Require = append(img.Require, "a mechanism of tomorrow")
	err := required(img, nil)
	if err == nil || !strings.Contains(err.Error(), `x requires "a mechanism of tomorrow"`) || strings.Contains(err.Error(), "sealed memory") {
		t.Errorf("what no kernel has: %v", err)
	}
	if err := required(img, img.Require); err != nil {
		t.Errorf("what the running system has asked for: %v", err)
	}
	for _, r := range probe.All() {
		err := required(&image.Image{Name: "x", Require: []string{r.Name}}, nil)
		if (err == nil) != (r.Answer == probe.Yes) {
			t.Errorf("%s, of which the doctor says %v: %v", r.Name, r.Answer, err)
		}
	}
}
