package interfaces

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Descriptors returns the files that define the interfaces and all that they
// import, encoded as a google.protobuf.FileDescriptorSet: each file once, after
// those that it imports. That is what protoc takes as --descriptor_set_in, so
// that code can be generated without the sources of what is built in. Comments
// of the system's own files are kept.
func (s *Set) Descriptors() ([]byte, error) {
	set := &descriptorpb.FileDescriptorSet{}
	seen := map[string]bool{}
	var add func(f protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		imports := f.Imports()
		for i := range imports.Len() {
			add(imports.Get(i).FileDescriptor)
		}
		set.File = append(set.File, fileOf(f))
	}
	for _, d := range s.Services {
		add(d.ParentFile())
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(set)
}

// fileOf is f as it was compiled, with its comments; of what is linked into
// this program, without.
func fileOf(f protoreflect.FileDescriptor) *descriptorpb.FileDescriptorProto {
	if source, ok := f.(interface {
		FileDescriptorProto() *descriptorpb.FileDescriptorProto
	}); ok {
		return source.FileDescriptorProto()
	}
	return protodesc.ToFileDescriptorProto(f)
}
