// Package keysv1 is the Go form of keys.proto, exactly as the standard
// generators of protobuf and gRPC write it.
package keysv1

//go:generate sh -c "cd .. && go run ward/internal/protogen -out keysv1 keys.proto"
