package policy

import "google.golang.org/protobuf/reflect/protoreflect"

func protoName(s string) protoreflect.FullName { return protoreflect.FullName(s) }

func methodName(iface, method string) protoreflect.FullName {
	return protoreflect.FullName(iface + "." + method)
}
