package gate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
)

// Code is a gRPC status code; the numbers are those of
// google.golang.org/grpc/codes.
type Code uint32

// The codes that this package gives itself. Servers may answer with any code.
const (
	OK                 Code = 0
	Canceled           Code = 1
	Unknown            Code = 2
	InvalidArgument    Code = 3
	DeadlineExceeded   Code = 4
	NotFound           Code = 5
	PermissionDenied   Code = 7
	ResourceExhausted  Code = 8
	FailedPrecondition Code = 9
	Aborted            Code = 10
	Unimplemented      Code = 12
	Internal           Code = 13
	Unavailable        Code = 14
)

// maxCode is the greatest of gRPC's codes, and of those that a terse method's errors have.
const maxCode Code = 16

var codeNames = map[Code]string{
	OK: "ok", Canceled: "canceled", Unknown: "unknown", InvalidArgument: "invalid argument",
	DeadlineExceeded: "deadline exceeded", NotFound: "not found", PermissionDenied: "permission denied",
	ResourceExhausted: "resource exhausted", FailedPrecondition: "failed precondition", Aborted: "aborted",
	Unimplemented: "unimplemented", Internal: "internal", Unavailable: "unavailable",
}

func (c Code) String() string {
	if s, ok := codeNames[c]; ok {
		return s
	}
	return fmt.Sprintf("code %d", uint32(c))
}

// Detail is one google.protobuf.Any of an error.
type Detail struct {
	TypeURL string // at most MaxDetailType bytes travel
	Value   []byte // at most MaxDetail bytes travel
}

// Error is the error of every call: what the server answered, what the kernel
// decided, or why the gate is broken.
type Error struct {
	Code     Code
	Message  string
	Details  []Detail // of a server's answer
	Metadata Metadata // of a server's answer

	// Of a message that the kernel denied, or a gate that the monitor refused:
	Reason abi.Reason // ReasonNone for all other errors
	Policy string     // @id of the policy that decided, if one did and it is known
	Field  uint32     // number of the field at fault, if one is known
	// A rate was exceeded: when a message that comes alone would be admitted. The
	// same stands in Details, as a google.rpc.RetryInfo.
	RetryAfter time.Duration

	// The server answered, and Ward denied the answer; why is in the audit log.
	ReplyDenied bool
}

func (e *Error) Error() string { return e.Code.String() + ": " + e.Message }

// Denied reports whether Ward denied the message or refused the gate, rather
// than the server answered with an error.
func (e *Error) Denied() bool { return e.Reason != abi.ReasonNone || e.ReplyDenied }

// Is makes errors.Is(err, context.Canceled) and context.DeadlineExceeded work.
func (e *Error) Is(target error) bool {
	return target == context.Canceled && e.Code == Canceled || target == context.DeadlineExceeded && e.Code == DeadlineExceeded
}

// Errorf returns an *Error without details, for handlers.
func Errorf(code Code, format string, args ...any) error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// AsError returns err as an *Error: itself, what it wraps, Canceled and
// DeadlineExceeded for the errors of contexts, and Unknown for all else. It
// returns nil for nil.
func AsError(err error) *Error {
	var e *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.Canceled):
		return &Error{Code: Canceled, Message: err.Error()}
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: DeadlineExceeded, Message: err.Error()}
	}
	return &Error{Code: Unknown, Message: err.Error()}
}

// codeOf says what a denial means to the one whose message was denied: what is
// wrong with the message itself is an invalid argument, what the policy forbids
// is a permission, and what only this library can get wrong is internal.
func codeOf(r abi.Reason) Code {
	switch r {
	case abi.ReasonRate, abi.ReasonQuota:
		return ResourceExhausted
	case abi.ReasonClosed, abi.ReasonNotRunning:
		return Unavailable
	case abi.ReasonRace:
		return Aborted
	case abi.ReasonState:
		return FailedPrecondition
	case abi.ReasonMethod:
		return Unimplemented
	case abi.ReasonUnknownInterface:
		return NotFound
	case abi.ReasonLength:
		return InvalidArgument
	case abi.ReasonShort, abi.ReasonVersion, abi.ReasonKind, abi.ReasonFlags, abi.ReasonDeadline, abi.ReasonSlot,
		abi.ReasonSlotBusy, abi.ReasonNoCall, abi.ReasonStreamDone:
		return Internal
	}
	if r >= abi.ReasonUnknownField && r <= abi.ReasonMetadata {
		return InvalidArgument
	}
	return PermissionDenied
}

// denied is the error of a denial. what says what was denied ("picture.v1.Pictures/Get").
func denied(what string, r abi.Reason, detail uint32, policies []string) *Error {
	e := &Error{Code: codeOf(r), Reason: r}
	text := r.String()
	switch {
	case r == abi.ReasonForbid || r == abi.ReasonPermit:
		if int64(detail) < int64(len(policies)) {
			e.Policy = policies[detail]
			text = fmt.Sprintf("forbidden by policy %q", e.Policy)
		} else if detail != abi.NoPolicy {
			text = fmt.Sprintf("forbidden by policy %d", detail)
		}
	case r == abi.ReasonDefault:
		text = "default deny: no policy permits it"
	case r >= abi.ReasonUnknownField && r <= abi.ReasonMetadata && detail != 0:
		e.Field = detail
		text = fmt.Sprintf("field %d: %s", detail, text)
	case r == abi.ReasonHandle && detail < uint32(len(handleFields)):
		text += handleFields[detail]
	case r == abi.ReasonRate:
		e.RetryAfter = time.Duration(detail) * time.Microsecond
		e.Details = []Detail{retryInfo(e.RetryAfter)}
		text = fmt.Sprintf("%s: try again in %v", text, e.RetryAfter)
		if detail == math.MaxUint32 { // or longer: a delegation that is used up gives nothing back
			text = fmt.Sprintf("%s: used up, for more than an hour or for good", r)
		}
	case r == abi.ReasonState:
		if int64(detail) < int64(len(policies)) {
			e.Policy = policies[detail]
			text = fmt.Sprintf("%s: policy %q would permit it, but makes a move that is not declared from here", text, e.Policy)
		}
	}
	e.Message = what + " denied: " + text
	return e
}

// retryInfo is a google.rpc.RetryInfo, which gRPC clients know: its field 1 is a
// google.protobuf.Duration of seconds (1) and nanoseconds (2).
func retryInfo(d time.Duration) Detail {
	var delay []byte
	for i, v := range []uint64{uint64(d / time.Second), uint64(d % time.Second)} {
		if v > 0 {
			delay = protowire.AppendVarint(protowire.AppendTag(delay, protowire.Number(i+1), protowire.VarintType), v)
		}
	}
	return Detail{TypeURL: "type.googleapis.com/google.rpc.RetryInfo", Value: protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), delay)}
}
