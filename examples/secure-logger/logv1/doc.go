// Package logv1 is the Go form of log.proto, as the standard generators of
// protobuf and gRPC write it.
package logv1

//go:generate sh -c "cd .. && go run ward/internal/protogen -out logv1 log.proto"
