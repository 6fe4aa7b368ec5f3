package proto

import "embed"

// Files holds ward/v1/*.proto by their import paths.
//
//go:embed ward/v1/*.proto
var Files embed.FS
