// Package storev1 is the Go form of store.proto, as the standard generators of
// protobuf and gRPC write it.
package storev1

//go:generate sh -c "cd .. && go run ward/internal/protogen -out storev1 store.proto"
