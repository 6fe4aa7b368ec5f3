// Package updatev1 is the Go form of update.proto, as the standard generators
// of protobuf and gRPC write it.
package updatev1

//go:generate sh -c "cd .. && go run ward/internal/protogen -out updatev1 update.proto"
