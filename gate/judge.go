package gate

import (
	"fmt"

	"ward/abi"
)

// Judge decides on a packet that travels in a direction of this end's gate, as
// the library of its receiver does before anybody sees it: by its header, its
// metadata section, its body and the policy. Whether the call that a reply
// answers is pending is not asked. It returns what a verdict page would hold:
// the reason, and what this is about (abi.VerdictWord). It is an error if the
// packet has no header or another length than this says, and if the end has no
// Check, so that the kernel decides.
//
// It serves tools and tests: gates judge by themselves. An end that is in use
// is not asked at the same time.
func (e *End) Judge(dir abi.Direction, packet []byte) (abi.Reason, uint32, error) {
	if e.Check == nil {
		return 0, 0, fmt.Errorf("gate for %s: the kernel decides on its messages", e.Interface)
	}
	h, err := abi.ParseHeader(packet)
	if err != nil {
		return 0, 0, fmt.Errorf("gate for %s: %w", e.Interface, err)
	}
	payload := packet[abi.HeaderSize:]
	if int64(h.Length) != int64(len(payload)) {
		return 0, 0, fmt.Errorf("gate for %s: a header that says %d bytes before %d", e.Interface, h.Length, len(payload))
	}
	e.Check.at(e)
	j := e.Check.judge(dir, &h, payload)
	return j.reason, j.detail, nil
}
