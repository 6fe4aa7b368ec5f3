package gate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
)

// Metadata travels beside a message. Its keys are those that the system
// declares under `metadata:`; they are compared in lower case. Values are any
// bytes, as long as their declared size allows.
type Metadata map[string]string

var (
	errLength   = errors.New("a message whose length is not that of its header")
	errSlot     = errors.New("a message for a slot outside the call table")
	errMetadata = errors.New("a malformed metadata section")
)

// appendMetadata appends the section for md. A key that the system does not
// declare is an error: it would be lost otherwise.
func (l *link) appendMetadata(b []byte, md Metadata) ([]byte, error) {
	start := len(b)
	b = append(b, 0, 0)
	fields := make([]uint32, 0, 8)
	values := map[uint32]string{}
	for k, v := range md {
		f, ok := l.keys[strings.ToLower(k)]
		if !ok {
			return b, undeclared(k, l.Metadata)
		}
		if _, twice := values[f]; twice {
			return b, &Error{Code: InvalidArgument, Message: fmt.Sprintf("metadata key %q is given twice", k)}
		}
		fields, values[f] = append(fields, f), v
	}
	slices.Sort(fields)
	for _, f := range fields {
		b = protowire.AppendTag(b, protowire.Number(f), protowire.BytesType)
		b = protowire.AppendString(b, values[f])
	}
	n := len(b) - start - 2
	if n > math.MaxUint16 {
		return b, &Error{Code: ResourceExhausted, Message: fmt.Sprintf("%d bytes of metadata; the limit is %d", n, math.MaxUint16)}
	}
	binary.LittleEndian.PutUint16(b[start:], uint16(n))
	return b, nil
}

func undeclared(key string, declared []string) error {
	list := "none are"
	if len(declared) > 0 {
		list = "declared are " + strings.Join(declared, ", ")
	}
	return &Error{Code: InvalidArgument, Message: fmt.Sprintf("metadata key %q is not declared under `metadata:` in system.yaml (%s)", key, list)}
}

// split takes payload apart into metadata, nil if there is none, and body.
func (l *link) split(flags abi.Flags, payload []byte) (Metadata, []byte, error) {
	if flags&abi.FlagMetadata == 0 {
		return nil, payload, nil
	}
	if len(payload) < 2 {
		return nil, nil, errMetadata
	}
	n := int(binary.LittleEndian.Uint16(payload))
	if n > len(payload)-2 {
		return nil, nil, errMetadata
	}
	section, body := payload[2:2+n], payload[2+n:]
	md := Metadata{}
	for len(section) > 0 {
		num, typ, n := protowire.ConsumeTag(section)
		if n < 0 || typ != protowire.BytesType || num < 1 || int(num) > len(l.Metadata) {
			return nil, nil, errMetadata
		}
		v, k := protowire.ConsumeBytes(section[n:])
		if k < 0 {
			return nil, nil, errMetadata
		}
		md[strings.ToLower(l.Metadata[num-1])] = string(v)
		section = section[n+k:]
	}
	return md, body, nil
}
