// Package proto holds the sources of Ward's own interfaces, for compilers of
// .proto files that import them (interfaces). The generated code is in ward/v1.
package proto
