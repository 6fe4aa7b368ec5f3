package image

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"ward/abi"
)

// Magic is how an encoded image begins; Version, a little-endian uint32, follows.
const (
	Magic   = "WARDIMAG"
	Version = 6
)

// Limits of what Decode and Check accept.
const (
	MaxImage    = 64 << 20 // bytes of an encoded image
	MaxString   = 64 << 10 // bytes of one string
	MaxDomains  = 4096     // a system has as many user IDs
	MaxMethods  = 1024     // of an interface
	MaxPins     = 512      // of a domain
	MaxFields   = abi.MaxFields
	MaxNesting  = abi.MaxDepth
	MaxDepth    = 64   // of an expression
	MaxNodes    = 4096 // of a rule's expression
	MaxCaptures = abi.MaxCaptures
	MaxNames    = 24 << 10 // bytes of the method table of an interface: it travels in one message of abi.MaxControl bytes
	MaxMetadata = 16       // keys
	MaxAtoms    = 1024     // users, and groups
)

// Sections follow the version in this order, each once: number (1 byte),
// length (uint32, little endian), content.
var sections = []struct {
	name  string
	layer func(*codec, *Image)
}{
	{"system", func(c *codec, i *Image) { c.str(&i.Name); c.strings(&i.Require) }},
	{"domains", func(c *codec, i *Image) { list(c, &i.Domains, (*codec).domain) }},
	{"interfaces", func(c *codec, i *Image) { list(c, &i.Interfaces, (*codec).iface) }},
	{"messages", func(c *codec, i *Image) { list(c, &i.Messages, (*codec).message) }},
	{"policies", func(c *codec, i *Image) { list(c, &i.Policies, (*codec).policy) }},
	{"routes", func(c *codec, i *Image) { list(c, &i.Routes, (*codec).route) }},
	{"metadata", func(c *codec, i *Image) { list(c, &i.Metadata, (*codec).metadata) }},
	{"atoms", func(c *codec, i *Image) { c.strings(&i.Users); c.strings(&i.Groups) }},
	{"state", func(c *codec, i *Image) {
		list(c, &i.States, (*codec).state)
		list(c, &i.Cells, (*codec).cell)
		c.u32(&i.Words)
		c.decision(&i.Reload)
	}},
	{"children", (*codec).children},
	{"objects", (*codec).objects},
}

// Encode writes img. The same image gives the same bytes; a nil and an empty
// slice are the same.
//
// Preconditions: img.Check() == nil, else Decode refuses the result.
func Encode(img *Image) []byte {
	out := binary.LittleEndian.AppendUint32([]byte(Magic), Version)
	for i, s := range sections {
		c := codec{}
		s.layer(&c, img)
		out = append(out, byte(i+1))
		out = binary.LittleEndian.AppendUint32(out, uint32(len(c.b)))
		out = append(out, c.b...)
	}
	return out
}

// Decode reads an image and checks it. It accepts only what Encode writes of
// an image that Check accepts, byte for byte.
func Decode(b []byte) (*Image, error) {
	if len(b) > MaxImage {
		return nil, fmt.Errorf("policy image of %d bytes: the limit is %d", len(b), MaxImage)
	}
	rest, ok := bytes.CutPrefix(b, []byte(Magic))
	if !ok || len(rest) < 4 {
		return nil, fmt.Errorf("not a policy image: it does not begin with %q and a version; make one with `ward compile`", Magic)
	}
	if v := binary.LittleEndian.Uint32(rest); v != Version {
		return nil, fmt.Errorf("policy image of version %d; this program reads version %d: compile the system again", v, Version)
	}
	rest = rest[4:]
	img := new(Image)
	for i, s := range sections {
		if len(rest) < 5 || rest[0] != byte(i+1) || uint64(binary.LittleEndian.Uint32(rest[1:])) > uint64(len(rest)-5) {
			return nil, fmt.Errorf("policy image: section %s is missing or cut off", s.name)
		}
		n := int(binary.LittleEndian.Uint32(rest[1:]))
		c := codec{b: rest[5 : 5+n], reading: true}
		s.layer(&c, img)
		if c.err == nil && len(c.b) != 0 {
			c.err = errTrailing
		}
		if c.err != nil {
			return nil, fmt.Errorf("policy image: section %s: %w", s.name, c.err)
		}
		rest = rest[5+n:]
	}
	if len(rest) != 0 {
		return nil, fmt.Errorf("policy image: %w", errTrailing)
	}
	if err := img.Check(); err != nil {
		return nil, err
	}
	return img, nil
}

// Hash names an encoded image: its SHA-256, in hexadecimal.
func Hash(encoded []byte) string {
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:])
}
