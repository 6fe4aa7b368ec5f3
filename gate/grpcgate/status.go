package grpcgate

import (
	"errors"
	"fmt"
	"io"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"ward/gate"
)

// callError is a gate's error as gRPC code knows errors.
type callError struct{ e *gate.Error }

func (c callError) Error() string {
	return fmt.Sprintf("rpc error: code = %s desc = %s", codes.Code(c.e.Code), c.e.Message)
}

func (c callError) Unwrap() error { return c.e }

// GRPCStatus is what status.FromError looks for.
func (c callError) GRPCStatus() *status.Status {
	p := &spb.Status{Code: int32(c.e.Code), Message: c.e.Message}
	for _, d := range c.e.Details {
		p.Details = append(p.Details, &anypb.Any{TypeUrl: d.TypeURL, Value: d.Value})
	}
	return status.FromProto(p)
}

// toGRPC makes an error of a gate one of gRPC. io.EOF stays, since streams end with it.
func toGRPC(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if _, ok := err.(callError); ok {
		return err
	}
	return callError{gate.AsError(err)}
}

// fromGRPC makes the error of a handler one that a gate carries.
func fromGRPC(err error) error {
	if err == nil {
		return nil
	}
	var g *gate.Error
	if errors.As(err, &g) {
		return g
	}
	s, ok := status.FromError(err)
	if !ok {
		s = status.FromContextError(err)
	}
	e := &gate.Error{Code: gate.Code(s.Code()), Message: s.Message()}
	for _, d := range s.Proto().GetDetails() {
		e.Details = append(e.Details, gate.Detail{TypeURL: d.GetTypeUrl(), Value: d.GetValue()})
	}
	return e
}
