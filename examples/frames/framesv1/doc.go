// Package framesv1 is the Go form of frames.proto, exactly as the standard
// generators of protobuf and gRPC write it.
package framesv1

//go:generate sh -c "cd .. && go run ward/internal/protogen -out framesv1 frames.proto"
