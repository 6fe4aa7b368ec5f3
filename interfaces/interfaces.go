package interfaces

import (
	"google.golang.org/protobuf/reflect/protoreflect"

	"ward/diag"
	"ward/image"
)

// A Set is what the .proto files of a system define. Interfaces and Messages
// are in the form of the image; the other maps give places and descriptors.
type Set struct {
	Interfaces []image.Interface
	Messages   []image.Message
	// Services and MessageTypes are the descriptors of Interfaces and Messages, by the same index.
	Services     []protoreflect.ServiceDescriptor
	MessageTypes []protoreflect.MessageDescriptor
	// Pos gives the place of a declaration by its full protobuf name. What is
	// built in has the place of its first use, or none.
	Pos map[protoreflect.FullName]diag.Pos
	// Unenforced lists, per field, the rules that the receiving library must
	// check since the kernel does not.
	Unenforced []Unenforced
}

// Unenforced is a protovalidate rule that the kernel does not check. Field is
// a message for the rules of a message as a whole.
type Unenforced struct {
	Field protoreflect.FullName
	Rule  string
	Pos   diag.Pos
}
