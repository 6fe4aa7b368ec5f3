package filter

import (
	"ward/image"
)

// Objects reports whether the program's messages carry handles, or are such that
// nobody answers, so that it is made from a template for these.
func (p *Program) Objects() bool { return p.Uses&(usesHandle|usesPost) != 0 }

// Handles reports whether messages of the program carry handles.
func (p *Program) Handles() bool { return p.Uses&usesHandle != 0 }

// Template is the program of Object that it is made from.
func (p *Program) Template() string {
	switch {
	case p.Objects():
		return "gate_objects"
	case p.Effective():
		return "gate_effects"
	}
	return "gate"
}

// handleSlots is the mask of what stands at methodHandle.
const handleSlots = 31

// handleOf is where a message has its handle, if it has one and any policy may
// admit it; ds are the decisions on it, by level.
func handleOf(img *image.Image, root uint32, ds []image.Decision) []uint32 {
	if !permitted(ds) {
		return nil
	}
	path, _ := img.HandleOf(root)
	return path
}

// claims are the fields of a handle that the filter compares with what was offered.
// In the order of paths nothing stands between them: they are numbers, of which
// there are no parts.
func claims(handle []uint32) (paths [][]uint32) {
	if handle == nil {
		return nil
	}
	for _, n := range []uint32{image.HandleID, image.HandleKind, image.HandleSize, image.HandleWrite} {
		paths = append(paths, append(handle[:len(handle):len(handle)], n))
	}
	return paths
}

// handleFlags is what the row of a method says of the handle in its message.
func handleFlags(caps *captureSet, handle []uint32) uint32 {
	if handle == nil {
		return 0
	}
	return uint32(caps.at(claims(handle)[0]).value) << methodHandle
}
