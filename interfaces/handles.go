package interfaces

import (
	"google.golang.org/protobuf/reflect/protoreflect"

	"ward/diag"
	"ward/image"
)

// Handles: a field of the message ward.v1.Handle passes a right to an object
// on. The kernel looks one number up for each message, so a message has one
// such field at most, wherever it is within it.

// isHandle reports whether a message is ward.v1.Handle.
func isHandle(m protoreflect.MessageDescriptor) bool { return m.FullName() == image.HandleName }

// handle refuses a field with a handle that its message cannot have.
func (b *builder) handle(e *entry, f *fieldInfo) bool {
	m := f.fd.Message()
	switch {
	case !isHandle(m) && !f.nested.handle:
		return true
	case f.Card == image.Repeated:
		b.refuse(e, f.at, "pass one handle in a message, as a stream (`stream "+string(f.fd.Parent().Name())+"`) or in several calls",
			"%s is repeated, and %s: a message has one handle at most", f.fd.FullName(), b.holds(f))
		return false
	case e.handle:
		b.refuse(e, f.at, "pass the handles one by one, in several messages; or put what belongs together into one object",
			"%s is the second handle of %s: a message has one at most", f.fd.FullName(), f.fd.Parent().FullName())
		return false
	}
	e.handle = true
	return true
}

// holds says what a field has to do with a handle.
func (b *builder) holds(f *fieldInfo) string {
	if isHandle(f.fd.Message()) {
		return "a handle"
	}
	return string(f.fd.Message().FullName()) + " has a handle"
}

// bare refuses a method whose message is a handle and nothing else.
func (b *builder) bare(m protoreflect.MethodDescriptor, at diag.Pos) {
	for i, message := range []protoreflect.MessageDescriptor{m.Input(), m.Output()} {
		if isHandle(message) {
			b.out.Errorf(at, "put it into a message of its own: message "+string(m.Name())+[]string{"Request", "Reply"}[i]+" { "+image.HandleName+" object = 1; }",
				"the %s of the method %s is a handle itself", []string{"request", "reply"}[i], m.FullName())
		}
	}
}
