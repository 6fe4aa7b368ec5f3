package eval

import "ward/image"

// WithMetadata adds the metadata beside a message to its parameters. Values are
// by index of Image.Metadata; a key that is not there is absent.
func WithMetadata(args Args, values map[uint32]string) Args {
	return beside{args, values}
}

type beside struct {
	Args
	values map[uint32]string
}

// Elements are those of the parameters that have some: metadata has none.
func (b beside) Elements(path []uint32) []image.Value {
	if e, ok := b.Args.(Elements); ok {
		return e.Elements(path)
	}
	return nil
}

func (b beside) value(path []uint32) (string, bool) {
	if len(path) != 2 {
		return "", false
	}
	v, ok := b.values[path[1]-1]
	return v, ok
}

func (b beside) Has(path []uint32) bool {
	if image.IsMetadata(path) {
		_, ok := b.value(path)
		return ok
	}
	return b.Args.Has(path)
}

func (b beside) Long(path []uint32, what image.What) int64 {
	if image.IsMetadata(path) {
		v, _ := b.value(path)
		return int64(len(v)) // of bytes, the size: the only number that metadata has
	}
	return b.Args.Long(path, what)
}

func (b beside) Text(path []uint32) string {
	if image.IsMetadata(path) {
		v, _ := b.value(path)
		return v
	}
	return b.Args.Text(path)
}
