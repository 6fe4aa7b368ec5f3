package image

import "ward/abi"

// MaxBody returns an upper bound of the encoding of a message within its
// bounds, in bytes, at most what a gate carries.
//
// Preconditions: Check accepted img.
func (img *Image) MaxBody(message uint32) uint32 {
	return uint32(min(img.maxBody(message), abi.MaxMessage-abi.HeaderSize))
}

// maxVarint is the length of the longest varint, in bytes.
const maxVarint = 10

func (img *Image) maxBody(message uint32) uint64 {
	sum := uint64(0)
	for i := range img.Messages[message].Fields {
		f := &img.Messages[message].Fields[i]
		size := uint64(maxVarint)
		switch f.Type {
		case Fixed32, Sfixed32, Float:
			size = 4
		case Fixed64, Sfixed64, Double:
			size = 8
		case Bool:
			size = 1
		case String, Bytes:
			size = 5 + uint64(f.MaxLen)
		case Nested:
			size = 5 + img.maxBody(f.Message)
		}
		size += 5 // tag
		if f.Card == Repeated {
			size *= uint64(f.MaxItems)
		}
		// A sum that is beyond any message stays there, without overflow.
		sum = min(sum+size, 1<<40)
	}
	return sum
}
