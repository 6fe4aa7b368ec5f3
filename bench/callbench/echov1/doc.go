// Package echov1 is the generated code of the interface that the call benchmark
// calls. Nothing here is edited by hand.
package echov1

//go:generate go run ward/internal/protogen -out . echo.proto
