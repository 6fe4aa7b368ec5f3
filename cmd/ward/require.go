package main

import (
	"fmt"
	"strings"

	"ward/image"
	"ward/kernel/probe"
)

// required refuses a system that asks for a mechanism, under `require:`, which
// the kernel does not have, or of which that cannot be found out. What the
// running system asks for, had, was looked at when it started.
func required(img *image.Image, had []string) error {
	asked := map[string]bool{image.RequireKernel: true} // of the level, not of the kernel
	for _, name := range had {
		asked[name] = true
	}
	var names []string
	for _, name := range img.Require {
		if !asked[name] {
			names = append(names, name)
		}
	}
	var lacking []string
	for _, r := range probe.Of(names) {
		if r.Answer == probe.Yes {
			continue
		}
		why := "this kernel does not have it"
		if r.Answer == probe.Unknown {
			why = "whether this kernel has it is not known: " + r.Detail
		}
		if r.Since != "" {
			why += " (Linux " + r.Since + ")"
		}
		lacking = append(lacking, fmt.Sprintf("%s requires %q: %s", img.Name, r.Name, why))
	}
	if len(lacking) == 0 {
		return nil
	}
	return failed("%s\n\t`ward doctor` says what is lost without it; to run without it, take it out of `require`", strings.Join(lacking, "\n"))
}
