package difftest

import (
	"fmt"
	"strings"
	"testing/fstest"

	"ward/abi"
	"ward/compile"
	"ward/image"
	"ward/policy"
)

// A source is the text of a system, in lines that can be left out: a line of
// domains, proto or policies that begins with two spaces or "@" stands for itself.
type source struct {
	head     []string // models, roles, states
	domains  []string
	proto    []string
	policies []string
}

func (s *source) clone() *source {
	return &source{append([]string{}, s.head...), append([]string{}, s.domains...), append([]string{}, s.proto...), append([]string{}, s.policies...)}
}

func (s *source) yaml() string {
	return "ward: 1\nname: zoo\ninterfaces: [zoo.proto]\npolicy: [policy.cedar]\n" + metadataLine() + "\n" + strings.Join(append(s.head, "domains:"), "\n") + "\n" + strings.Join(s.domains, "\n") + "\n"
}

// files is the system directory.
func (s *source) files() fstest.MapFS {
	return fstest.MapFS{
		"system.yaml":  {Data: []byte(s.yaml())},
		"zoo.proto":    {Data: []byte(strings.Join(s.proto, "\n") + "\n")},
		"policy.cedar": {Data: []byte(strings.Join(s.policies, "\n") + "\n")},
	}
}

func (s *source) String() string {
	var b strings.Builder
	for _, name := range []string{"system.yaml", "zoo.proto", "policy.cedar"} {
		fmt.Fprintf(&b, "--- %s\n", name)
		for line := range strings.SplitSeq(string(s.files()[name].Data), "\n") {
			if line != "" {
				fmt.Fprintln(&b, line)
			}
		}
	}
	return b.String()
}

// A built is a system that went down the road as far as an image.
type built struct {
	src    *source
	res    *compile.Result
	img    *image.Image // decoded
	wrong  *image.Image // what filters are made from: img again, or a positive control's
	oracle *oracle

	received *image.Image // what the receiver's library has: img again, or a positive control's
}

// build compiles a source. Options are those of policy.Compile.
func build(src *source, d damage, options ...policy.Option) (*built, error) {
	res, l := compile.Dir(src.files(), options...)
	if res.Image == nil {
		return nil, l
	}
	if d.compile != nil {
		d.compile(res.Image)
	}
	encoded := image.Encode(res.Image)
	b := &built{src: src, res: res}
	var err error
	if b.img, err = image.Decode(encoded); err != nil {
		return nil, fmt.Errorf("the image is not read back: %w", err)
	}
	if b.wrong, err = image.Decode(encoded); err != nil {
		return nil, err
	}
	if d.filter != nil {
		d.filter(b.wrong)
	}
	if b.received = b.img; d.library != nil {
		if b.received, err = image.Decode(encoded); err != nil {
			return nil, err
		}
		d.library(b.received)
	}
	b.oracle, err = newOracle(b)
	return b, err
}

// domain is the index of a domain by name.
func (b *built) domain(name string) abi.DomainID {
	for i, d := range b.img.Domains {
		if d.Name == name {
			return abi.DomainID(i)
		}
	}
	return abi.NoDomain
}
