package holder

import (
	"os"

	"ward/holder/link"
)

// Seal puts an encoded image into a memfd that nobody can change any more, to
// be passed on as ImageFD.
func Seal(image []byte) (*os.File, error) { return link.Seal(image) }
