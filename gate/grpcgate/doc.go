// Package grpcgate puts the code that protoc-gen-go-grpc generates on gates,
// unchanged: Conn is a grpc.ClientConnInterface, Server a grpc.ServiceRegistrar.
//
//	conn, err := grpcgate.Dial(ctx, "picture.v1.Pictures")   // was: grpc.NewClient("unix:///run/pictures.sock", …)
//	pictures := picturev1.NewPicturesClient(conn)
//
//	lis, err := grpcgate.Listen()                            // was: net.Listen("unix", "/run/pictures.sock")
//	server := grpcgate.NewServer()                           // was: grpc.NewServer()
//	picturev1.RegisterPicturesServer(server, &pictures{})
//	err = server.Serve(lis)
//
// What travels: requests and replies, streams of all kinds, deadlines,
// cancellation, status codes, messages and details (within the bounds of
// gate.MaxDetails and its like), and the metadata keys that system.yaml
// declares, with one value each. A key that is not declared is an error in the
// sender. Metadata of a unary answer is both its header and its trailer; of a
// stream, the header comes with the first item.
//
// Messages with a ward.v1.Handle pass memory: Offer makes a handle, Redeem gets
// the memory of one (docs/objects.md).
//
// What does not: compression, codecs other than protobuf, authority, and
// client interceptors made for *grpc.ClientConn.
//
// Invariants: every error of a call has a gRPC status (status.FromError) and is
// a *gate.Error (errors.As); of this module it imports gate, abi and proto/ward/v1 only.
package grpcgate
