// Package testv1 is the generated code of a service with a method of each kind.
// Nothing here is edited by hand.
package testv1

//go:generate go run ward/internal/protogen -out . test.proto
