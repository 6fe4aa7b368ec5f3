package policy

import (
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"

	"ward/image"
	"ward/interfaces"
)

// The name server. What a domain asks it is decided by Ward's own actions
// publish and lookup, whose outcome is known when the system is compiled: the
// filter on the way to the name server compares the name with a constant set.
const (
	namesDomain    = "names"
	namesInterface = "ward.v1.Names"
	namesProgram   = "" // whoever starts the system knows where ward-names is
	maxName        = 255
)

func protoName(s string) protoreflect.FullName { return protoreflect.FullName(s) }

func methodName(iface, method string) protoreflect.FullName {
	return protoreflect.FullName(iface + "." + method)
}

// identChars is the class of characters of a full protobuf name, [A-Za-z0-9._].
var identChars = class("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._")

// domainChars is the class of characters of a domain's name, [a-z0-9-].
var domainChars = class("abcdefghijklmnopqrstuvwxyz0123456789-")

func class(chars string) (c [2]uint64) {
	for _, b := range []byte(chars) {
		c[b>>6] |= 1 << (b & 63)
	}
	return c
}

// withNames returns set with ward.v1.Names in it, and its index: systems need
// not list the interface of the name server. A test compares it with
// proto/ward/v1/names.proto.
func withNames(set *interfaces.Set) (*interfaces.Set, int) {
	if i := slices.IndexFunc(set.Interfaces, func(i image.Interface) bool { return i.Name == namesInterface }); i >= 0 {
		return set, i
	}
	s := *set
	s.Interfaces, s.Messages = slices.Clone(set.Interfaces), slices.Clone(set.Messages)
	s.Services, s.MessageTypes = slices.Clone(set.Services), slices.Clone(set.MessageTypes)
	first := uint32(len(s.Messages))
	name := func() image.Field {
		return image.Field{Number: 1, Name: "interface", Type: image.String, MinLen: 1, MaxLen: maxName, Class: identChars}
	}
	s.Messages = append(s.Messages,
		image.Message{Name: "ward.v1.PublishRequest", Fields: []image.Field{name()}},
		image.Message{Name: "ward.v1.PublishResponse"},
		image.Message{Name: "ward.v1.WithdrawRequest", Fields: []image.Field{name()}},
		image.Message{Name: "ward.v1.WithdrawResponse"},
		image.Message{Name: "ward.v1.LookupRequest", Fields: []image.Field{name(), {Number: 2, Name: "wait", Type: image.Bool, HasRange: true, Max: 1}}},
		image.Message{Name: "ward.v1.LookupResponse", Fields: []image.Field{{Number: 1, Name: "servers", Type: image.String,
			Card: image.Repeated, MinItems: 1, MaxItems: 64, MinLen: 1, MaxLen: 63, Class: domainChars}}},
	)
	s.Services = append(s.Services, nil)
	for len(s.MessageTypes) < len(s.Messages) {
		s.MessageTypes = append(s.MessageTypes, nil)
	}
	s.Interfaces = append(s.Interfaces, image.Interface{Name: namesInterface, Methods: []image.Method{
		{Name: "Publish", Request: first, Reply: first + 1},
		{Name: "Withdraw", Request: first + 2, Reply: first + 3},
		{Name: "Lookup", Request: first + 4, Reply: first + 5},
	}})
	return &s, len(s.Interfaces) - 1
}
