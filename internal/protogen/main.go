// Command protogen generates Go code from .proto files. It needs no protoc:
// the files are compiled by protocompile and handed to the module's tools
// protoc-gen-go and protoc-gen-go-grpc. The rules of protovalidate
// (buf/validate/validate.proto), Google's well-known types and Ward's own files
// (ward/v1/handle.proto) are built in.
//
//	go run ward/internal/protogen -out DIR FILE.proto...
//
// It is meant for go:generate lines; the output is committed.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	_ "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"

	wardproto "ward/proto"
)

func main() {
	out := flag.String("out", ".", "directory for the generated files")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: protogen -out DIR FILE.proto...")
		os.Exit(2)
	}
	if err := generate(*out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

func generate(out string, files []string) error {
	compiler := protocompile.Compiler{
		Resolver: protocompile.CompositeResolver{
			&protocompile.SourceResolver{},
			protocompile.ResolverFunc(linked),
			&protocompile.SourceResolver{Accessor: wards},
		},
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	compiled, err := compiler.Compile(context.Background(), files...)
	if err != nil {
		return err
	}
	request := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: files,
		Parameter:      proto.String("paths=source_relative"),
	}
	seen := map[string]bool{}
	for _, f := range compiled {
		appendFile(request, seen, f)
	}
	input, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	for _, plugin := range []string{"protoc-gen-go", "protoc-gen-go-grpc"} {
		if err := run(plugin, input, out); err != nil {
			return fmt.Errorf("%s: %w", plugin, err)
		}
	}
	return nil
}

// linked finds what this program links: the rules of protovalidate and the
// well-known types.
func linked(path string) (protocompile.SearchResult, error) {
	f, err := protoregistry.GlobalFiles.FindFileByPath(path)
	if err != nil {
		return protocompile.SearchResult{}, err
	}
	return protocompile.SearchResult{Desc: f}, nil
}

// wards opens Ward's own files (ward/v1/handle.proto) for those that import them.
func wards(path string) (io.ReadCloser, error) { return wardproto.Files.Open(path) }

// appendFile appends f after all that it imports, each once, as plugins require.
func appendFile(r *pluginpb.CodeGeneratorRequest, seen map[string]bool, f protoreflect.FileDescriptor) {
	if seen[f.Path()] {
		return
	}
	seen[f.Path()] = true
	for i := range f.Imports().Len() {
		appendFile(r, seen, f.Imports().Get(i).FileDescriptor)
	}
	r.ProtoFile = append(r.ProtoFile, withComments(f))
}

// withComments keeps the comments of the source, which become doc comments.
func withComments(f protoreflect.FileDescriptor) *descriptorpb.FileDescriptorProto {
	if source, ok := f.(interface {
		FileDescriptorProto() *descriptorpb.FileDescriptorProto
	}); ok {
		return source.FileDescriptorProto()
	}
	return protodesc.ToFileDescriptorProto(f)
}

func run(plugin string, input []byte, out string) error {
	cmd := exec.Command("go", "tool", plugin)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), os.Stderr
	output, err := cmd.Output()
	if err != nil {
		return err
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(output, &response); err != nil {
		return err
	}
	if response.Error != nil {
		return fmt.Errorf("%s", response.GetError())
	}
	for _, f := range response.File {
		if err := os.WriteFile(filepath.Join(out, f.GetName()), []byte(f.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
