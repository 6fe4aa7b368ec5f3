package abi

import "fmt"

var reasonText = map[Reason]string{
	ReasonNone:             "no verdict",
	ReasonPermit:           "permitted",
	ReasonForbid:           "forbidden",
	ReasonDefault:          "default deny",
	ReasonAdmit:            "admitted",
	ReasonShort:            "shorter than a header",
	ReasonVersion:          "unknown version",
	ReasonKind:             "kind of message not allowed here",
	ReasonFlags:            "unknown flags",
	ReasonMethod:           "no such method",
	ReasonLength:           "wrong length, or too large for this method",
	ReasonDeadline:         "a reply with a deadline",
	ReasonSlot:             "slot outside the call table",
	ReasonSlotBusy:         "slot is still in use",
	ReasonNoCall:           "no such pending call",
	ReasonStreamDone:       "stream has ended",
	ReasonSender:           "sender does not own this gate",
	ReasonClosed:           "gate is closed",
	ReasonRace:             "too many messages for one slot or state at a time: send it again",
	ReasonUnknownField:     "unknown field",
	ReasonWireType:         "wrong wire type",
	ReasonVarint:           "malformed varint",
	ReasonWidth:            "value does not fit its type",
	ReasonDuplicate:        "field given twice",
	ReasonTruncated:        "truncated field",
	ReasonUTF8:             "string is not UTF-8",
	ReasonBounds:           "value out of bounds",
	ReasonRequired:         "required field is missing",
	ReasonTooDeep:          "nested too deeply",
	ReasonTooMany:          "too many fields",
	ReasonEnum:             "undefined enum value",
	ReasonMetadata:         "malformed or oversized metadata",
	ReasonRate:             "rate exceeded",
	ReasonState:            "not in this state",
	ReasonHandle:           "no such handle to give, or not what it claims to be",
	ReasonExpired:          "its time is over",
	ReasonUnknownInterface: "no domain offers this interface",
	ReasonNotRunning:       "server is not running",
	ReasonQuota:            "too many gates",
}

// String returns r in words, for people and for the `reason` of audit lines.
func (r Reason) String() string {
	if s, ok := reasonText[r]; ok {
		return s
	}
	return fmt.Sprintf("reason %d", uint8(r))
}
