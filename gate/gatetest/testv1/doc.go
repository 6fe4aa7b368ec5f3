// Package testv1 is the generated code of services for tests: one with a
// method of each kind, one whose messages carry handles.
// Nothing here is edited by hand.
package testv1

//go:generate go run ward/internal/protogen -out . handles.proto test.proto
