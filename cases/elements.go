package cases

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"ward/image"
)

// elementsAre says of a repeated argument that its elements are those written.
func elementsAre(path []uint32, list []image.Value) []image.Expr {
	if len(list) == 0 {
		return nil
	}
	set := slices.Clone(list)
	slices.SortFunc(set, func(a, b image.Value) int {
		return cmp.Or(cmp.Compare(a.Long, b.Long), cmp.Compare(a.String, b.String))
	})
	set = slices.Compact(set)
	elements := image.Operand{What: image.Elements, Path: path}
	given := []image.Expr{{Op: image.Not, Args: []image.Expr{{Op: image.AnyOut, Left: elements, Set: set}}}}
	for _, v := range set {
		given = append(given, image.Expr{Op: image.AnyIn, Left: elements, Set: []image.Value{v}})
	}
	return given
}

// elementsText writes the elements of an example.
func elementsText(list []image.Value, fd protoreflect.FieldDescriptor) string {
	var words []string
	for _, v := range list {
		word := strconv.FormatInt(v.Long, 10)
		switch {
		case v.IsString:
			word = strconv.Quote(v.String)
		case fd.Kind() == protoreflect.BoolKind:
			word = strconv.FormatBool(v.Long != 0)
		case fd.Kind() == protoreflect.EnumKind:
			if e := fd.Enum().Values().ByNumber(protoreflect.EnumNumber(v.Long)); e != nil {
				word = string(e.Name())
			}
		}
		words = append(words, word)
	}
	return "{values: [" + strings.Join(words, ", ") + "]}"
}
