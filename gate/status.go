package gate

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Bounds of an error on the wire (proto/ward/v1/status.proto); the filter
// checks them. Errors that exceed them are cut, and say so.
const (
	MaxErrorMessage = 1024 // bytes
	MaxDetails      = 8
	MaxDetailType   = 256  // bytes
	MaxDetail       = 4096 // bytes
)

// appendStatus appends e as a Status.
func appendStatus(b []byte, e *Error) []byte {
	if e.Code != OK {
		b = protowire.AppendTag(b, 1, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(int64(int32(e.Code))))
	}
	text, left := strings.ToValidUTF8(e.Message, "\uFFFD"), 0
	details := make([]Detail, 0, MaxDetails)
	for _, d := range e.Details {
		if len(details) == MaxDetails || len(d.TypeURL) > MaxDetailType || len(d.Value) > MaxDetail || !utf8.ValidString(d.TypeURL) {
			left++
			continue
		}
		details = append(details, d)
	}
	note := ""
	if left > 0 {
		note = fmt.Sprintf(" [%d of %d details left out: a gate carries %d of %d bytes]", left, len(e.Details), MaxDetails, MaxDetail)
	}
	if text = cut(text, MaxErrorMessage-len(note)) + note; text != "" {
		b = protowire.AppendTag(b, 2, protowire.BytesType)
		b = protowire.AppendString(b, text)
	}
	for _, d := range details {
		var a []byte
		if d.TypeURL != "" {
			a = protowire.AppendTag(a, 1, protowire.BytesType)
			a = protowire.AppendString(a, d.TypeURL)
		}
		if len(d.Value) > 0 {
			a = protowire.AppendTag(a, 2, protowire.BytesType)
			a = protowire.AppendBytes(a, d.Value)
		}
		b = protowire.AppendTag(b, 3, protowire.BytesType)
		b = protowire.AppendBytes(b, a)
	}
	return b
}

// code is what of e passes where an error carries its code only.
func (e *Error) code() *Error {
	if e.Code > maxCode {
		return &Error{Code: Unknown}
	}
	return &Error{Code: e.Code}
}

// received reads the error that ended a call of a method.
func (l *link) received(method uint32, body []byte, md Metadata) *Error {
	e := parseStatus(body)
	e.Metadata = md
	if l.Check != nil {
		l.denial(e)
	}
	if e.Message == "" && int64(method) < int64(len(l.Methods)) && l.Methods[method].Terse {
		e.Message = l.method(method) + ": the policy lets the code of an error pass, and no more of it"
	}
	return e
}

// cut shortens s to n bytes without breaking a character, and marks the cut.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	const mark = "…"
	n -= len(mark)
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + mark
}

// parseStatus reads a Status.
func parseStatus(b []byte) *Error {
	e := &Error{}
	err := fields(b, func(num protowire.Number, v uint64, s []byte) error {
		switch num {
		case 1:
			e.Code = Code(v)
		case 2:
			e.Message = string(s)
		case 3:
			var d Detail
			e.Details = append(e.Details, d)
			return fields(s, func(num protowire.Number, _ uint64, s []byte) error {
				d := &e.Details[len(e.Details)-1]
				switch num {
				case 1:
					d.TypeURL = string(s)
				case 2:
					d.Value = append([]byte(nil), s...)
				}
				return nil
			})
		}
		return nil
	})
	if err != nil || e.Code == OK {
		return &Error{Code: Internal, Message: "the server sent a malformed error"}
	}
	return e
}

// fields calls f for each varint (v) and each length-delimited (s) field of a message.
func fields(b []byte, f func(num protowire.Number, v uint64, s []byte) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		var v uint64
		var s []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			s, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		if err := f(num, v, s); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
