#!/bin/sh
# Regenerates leylinepb from leyline.proto. Needs protoc (Debian: protobuf-compiler);
# protoc-gen-go comes pinned from .ci/tools.mod.
set -eu
cd "$(dirname "$0")"
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
go build -modfile=../.ci/tools.mod -o "$bin/protoc-gen-go" google.golang.org/protobuf/cmd/protoc-gen-go
protoc --plugin=protoc-gen-go="$bin/protoc-gen-go" --go_out=leylinepb --go_opt=paths=source_relative leyline.proto
