package interfaces

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"github.com/bufbuild/protocompile/reporter"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	// What a system may import without having it: the well-known types.
	_ "google.golang.org/protobuf/types/known/anypb"
	_ "google.golang.org/protobuf/types/known/durationpb"
	_ "google.golang.org/protobuf/types/known/emptypb"
	_ "google.golang.org/protobuf/types/known/fieldmaskpb"
	_ "google.golang.org/protobuf/types/known/structpb"
	_ "google.golang.org/protobuf/types/known/timestamppb"
	_ "google.golang.org/protobuf/types/known/wrapperspb"

	"ward/diag"
	"ward/proto"
	"ward/system"
)

// namesFile is the interface of the name server; every Set has it, last.
const namesFile = "ward/v1/names.proto"

// maxFindings is the number of findings that are kept.
const maxFindings = 100

// Load reads the .proto files of a system and what they import: from fsys, or
// built in (google/protobuf/*.proto, buf/validate/validate.proto,
// ward/v1/*.proto; a copy of those in fsys is not read). The interfaces of the
// listed files come first, in the order of the files; ward.v1.Names is always
// there, the last.
//
// The Set is never nil. If the list has errors it is what could be read, and
// must not be compiled. Findings are sorted. Where Ward's defaults bound what
// an interface leaves open, the field says so (image.Field.Default).
func Load(fsys fs.FS, files []system.String) (*Set, diag.List) {
	set := &Set{Pos: map[protoreflect.FullName]diag.Pos{}}
	var out diag.List
	src := gather(fsys, files, &out)
	paths := src.roots
	if out.Failed() {
		// What could not be read would be reported again by each importer.
		paths = src.whole()
	}
	b := &builder{set: set, src: src, out: &out, index: map[protoreflect.FullName]*entry{},
		files: map[string]bool{}, defined: map[protoreflect.FullName]string{}}
	compiled := src.compile(paths, &out)
	for _, f := range compiled {
		b.file(f)
	}
	b.names()
	out.Sort()
	if len(out) > maxFindings {
		last := out[maxFindings]
		out = out[:maxFindings]
		out.Errorf(last.Pos, "", "more findings follow: correct these first")
	}
	return set, out
}

// names adds the interface of the name server.
func (b *builder) names() {
	var out diag.List
	b.out = &out
	for _, f := range b.src.compile([]string{namesFile}, &out) {
		b.file(f)
	}
	if out.Failed() {
		panic("built-in " + out.Error()) // its text is part of the program
	}
}

// builtin reports whether a path is resolved without fsys.
func builtin(path string) bool {
	return strings.HasPrefix(path, "google/protobuf/") || strings.HasPrefix(path, "buf/validate/") || strings.HasPrefix(path, "ward/v1/")
}

// FindFileByPath resolves imports for the compiler.
func (s *sources) FindFileByPath(path string) (protocompile.SearchResult, error) {
	if text, ok := s.text[path]; ok {
		return protocompile.SearchResult{Source: strings.NewReader(text)}, nil
	}
	switch {
	case strings.HasPrefix(path, "ward/v1/"):
		text, err := fs.ReadFile(proto.Files, path)
		if err != nil {
			return protocompile.SearchResult{}, errNoFile
		}
		return protocompile.SearchResult{Source: strings.NewReader(string(text))}, nil
	case path == validate.File_buf_validate_validate_proto.Path():
		return protocompile.SearchResult{Desc: validate.File_buf_validate_validate_proto}, nil
	case strings.HasPrefix(path, "google/protobuf/"):
		if d, err := protoregistry.GlobalFiles.FindFileByPath(path); err == nil {
			return protocompile.SearchResult{Desc: d}, nil
		}
	}
	return protocompile.SearchResult{}, errNoFile
}

var errNoFile = errors.New("no such file")

// compile links the files, and reports what is wrong with them. It goes on
// after errors as far as the compiler can.
func (s *sources) compile(paths []string, out *diag.List) []linker.File {
	if len(paths) == 0 {
		return nil
	}
	found := false
	compiler := protocompile.Compiler{
		Resolver:       s,
		MaxParallelism: 1, // the same findings in each run
		SourceInfoMode: protocompile.SourceInfoStandard,
		Reporter: reporter.NewReporter(func(e reporter.ErrorWithPos) error {
			found = true
			out.Errorf(s.errorPos(e), s.fixOf(e.Unwrap().Error()), "%v", e.Unwrap())
			return nil
		}, func(e reporter.ErrorWithPos) {
			if p := s.errorPos(e); !builtin(p.File) {
				out.Warnf(p, "", "%v", e.Unwrap())
			}
		}),
	}
	var files []linker.File
	// One by one: an error in one file does not hide those of the others. What
	// is imported by several is compiled again, with the same findings, which
	// the sorted list has once.
	for _, p := range paths {
		linked, err := guarded(func() (linker.Files, error) { return compiler.Compile(context.Background(), p) })
		switch {
		case err == nil:
			files = append(files, linked...)
		case errors.Is(err, reporter.ErrInvalidSource) && found:
		default:
			if e, ok := errors.AsType[reporter.ErrorWithPos](err); ok {
				out.Errorf(s.errorPos(e), "", "%v", e.Unwrap())
			} else {
				out.Errorf(diag.Pos{File: p, Line: 1, Column: 1}, "", "%v", err)
			}
		}
	}
	return files
}

// guarded turns a panic into an error: the compiler is a guest, and a bug of
// it must not end the program without a place.
func guarded[T any](f func() (T, error)) (result T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the compiler of .proto files failed: %v", r)
		}
	}()
	return f()
}

func (s *sources) errorPos(e reporter.ErrorWithPos) diag.Pos {
	p := e.GetPosition()
	return s.at(p.Filename, p.Line, p.Col)
}

// fixOf says what to do about the compiler's commonest errors.
func (s *sources) fixOf(message string) string {
	if _, name, ok := strings.Cut(message, "unknown type "); ok {
		if s.suggested++; s.suggested <= maxSuggested {
			if fix := diag.Suggest(name, append(s.declared(), scalars...)); fix != "" {
				return fix
			}
		}
		return "define the message, or import the file that does"
	}
	if strings.Contains(message, "unknown extension buf.validate") {
		return `add import "buf/validate/validate.proto";`
	}
	return ""
}

var scalars = []string{"double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64",
	"fixed32", "fixed64", "sfixed32", "sfixed64", "bool", "string", "bytes"}

var declaration = regexp.MustCompile(`\b(?:message|enum)\s+([A-Za-z_][A-Za-z0-9_]*)`)

// Bounds of the work for suggestions: their number, and the names that each
// looks at.
const (
	maxSuggested = 20
	maxDeclared  = 2000
)

// declared returns names that look like those of messages and enums.
func (s *sources) declared() []string {
	var names []string
	for _, path := range s.roots {
		for _, m := range declaration.FindAllStringSubmatch(s.text[path], maxDeclared) {
			names = append(names, m[1])
		}
	}
	return names[:min(len(names), maxDeclared)]
}
