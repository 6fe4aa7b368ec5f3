// Package devicev1 is the Go form of device.proto, as the standard generators
// of protobuf and gRPC write it.
package devicev1

//go:generate sh -c "cd .. && go run ward/internal/protogen -out devicev1 device.proto"
