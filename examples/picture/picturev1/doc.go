// Package picturev1 is the Go form of picture.proto, exactly as the standard
// generators of protobuf and gRPC write it.
package picturev1

//go:generate sh -c "cd .. && go run ward/internal/protogen -out picturev1 picture.proto"
