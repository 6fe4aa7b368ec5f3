// Package validate enforces, in the receiving program, the protovalidate rules
// that the kernel does not: patterns of more than one part, email, uuid, CEL.
// `ward check` lists them, field by field.
//
//	server := grpcgate.NewServer(validate.Requests()...)
//	pictures := picturev1.NewPicturesClient(validate.Replies(conn))
//
// It is a package of its own since it brings a CEL interpreter along (several
// megabytes), which programs without such rules do not need. What the kernel
// checks, it checks again: a few microseconds a message.
//
// Invariants: a message that breaks a rule never reaches the handler or the
// caller; the error is InvalidArgument for a request, Internal for a reply
// (the peer, not the caller, broke the interface).
package validate

import (
	"context"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"ward/gate/grpcgate"
)

// check returns a status error with this code if m is a message that breaks a
// rule of its interface.
func check(code codes.Code, m any) error {
	p, ok := m.(proto.Message)
	if !ok {
		return status.Errorf(codes.Internal, "validate: %T is no protobuf message", m)
	}
	if err := protovalidate.Validate(p); err != nil {
		return status.Errorf(code, "%s: %v", p.ProtoReflect().Descriptor().FullName(), err)
	}
	return nil
}

// Requests makes a server check each request, and each item of a client's
// stream, before its handler sees it.
func Requests() []grpcgate.ServerOption {
	return []grpcgate.ServerOption{grpcgate.UnaryInterceptor(Unary), grpcgate.StreamInterceptor(Stream)}
}

// Unary is the interceptor of Requests for unary calls.
func Unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := check(codes.InvalidArgument, req); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

// Stream is the interceptor of Requests for streams.
func Stream(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	return next(srv, serverStream{s})
}

type serverStream struct{ grpc.ServerStream }

func (s serverStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return check(codes.InvalidArgument, m)
}

// Replies makes a client check each reply, and each item of a server's stream,
// before its caller sees it.
func Replies(c grpc.ClientConnInterface) grpc.ClientConnInterface { return conn{c} }

type conn struct{ grpc.ClientConnInterface }

func (c conn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	if err := c.ClientConnInterface.Invoke(ctx, method, args, reply, opts...); err != nil {
		return err
	}
	if err := check(codes.Internal, reply); err != nil {
		if m, ok := reply.(proto.Message); ok {
			proto.Reset(m)
		}
		return err
	}
	return nil
}

func (c conn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := c.ClientConnInterface.NewStream(ctx, desc, method, opts...)
	if err != nil {
		return nil, err
	}
	return clientStream{s}, nil
}

type clientStream struct{ grpc.ClientStream }

func (s clientStream) RecvMsg(m any) error {
	if err := s.ClientStream.RecvMsg(m); err != nil {
		return err
	}
	return check(codes.Internal, m)
}
