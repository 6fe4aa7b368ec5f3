// Package docsv1 is the Go form of docs.proto, as the standard generators of
// protobuf and gRPC write it.
package docsv1

//go:generate sh -c "cd .. && go run ward/internal/protogen -out docsv1 docs.proto"
