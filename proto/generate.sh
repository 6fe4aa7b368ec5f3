#!/bin/sh
# Writes the Go code of Ward's own .proto files again. It needs only the go
# command; the result is committed, and the same everywhere.
set -eu
cd "$(dirname "$0")"
go run ward/internal/protogen -out . ward/v1/handle.proto ward/v1/names.proto ward/v1/status.proto
