#!/bin/sh
# Builds releases: static binaries that depend on nothing but the source, the
# version and the Go toolchain, so that everybody who builds a tag gets the same
# bytes.
#
#   infra/release.sh                     dist/ with linux/amd64, linux/arm64, SHA256SUMS
#   infra/release.sh verify [ARCH...]    builds twice, from two folders, and compares;
#                                        the second time with an empty build cache
#   infra/release.sh build PACKAGE FILE  one binary, for GOOS and GOARCH
#
# VERSION and COMMIT say what to write into the binaries; without them git does.
set -eu
cd "$(dirname "$0")/.."

VERSION=${VERSION:-$(git describe --tags --always --dirty 2>/dev/null || true)}
COMMIT=${COMMIT:-$(git rev-parse HEAD 2>/dev/null || true)}

# build PACKAGE FILE: the flags that make a build reproducible stand only here.
build() {
  env CGO_ENABLED=0 GOFLAGS=-mod=readonly GOAMD64=v1 GOARM64=v8.0 GOEXPERIMENT= \
    go build -trimpath -buildvcs=false \
    -ldflags "-s -w -buildid= -X main.version=${VERSION:-(devel)} -X main.commit=${COMMIT:-unknown}" \
    -o "$2" "$1"
}

binary() { echo "esper-weatherlight-service_linux_$1"; }

# release FOLDER ARCH...: the binaries of a release, with their checksums.
release() {
  folder=$1
  shift
  for arch in "$@"; do
    GOOS=linux GOARCH=$arch build ./cmd/esper-weatherlight-service "$folder/$(binary "$arch")"
  done
  (cd "$folder" && sha256sum esper-weatherlight-service_linux_* >SHA256SUMS)
}

# verify ARCH...: the same bytes, whatever the folder and the cache.
verify() {
  work=$(mktemp -d)
  trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
  mkdir -p "$work/first" "$work/second" "$work/source/elsewhere"
  release "$work/first" "$@"
  # What git knows, changes included, and what it does not ignore.
  git ls-files -z --cached --others --exclude-standard |
    tar --null --ignore-failed-read -T - -cf - 2>/dev/null | tar -xf - -C "$work/source/elsewhere"
  export VERSION COMMIT
  for arch in "$@"; do
    GOOS=linux GOARCH=$arch GOCACHE=$work/cache \
      "$work/source/elsewhere/infra/release.sh" build ./cmd/esper-weatherlight-service "$work/second/$(binary "$arch")"
  done
  (cd "$work/second" && sha256sum -c "$work/first/SHA256SUMS")
  echo "reproducible with $(go env GOVERSION): ${VERSION:-(devel)} ${COMMIT:-unknown}"
}

case ${1:-release} in
release)
  mkdir -p dist
  release dist amd64 arm64
  cat dist/SHA256SUMS
  ;;
verify)
  shift
  [ $# -gt 0 ] || set -- amd64 arm64
  verify "$@"
  ;;
build)
  [ $# -eq 3 ] || { echo "usage: infra/release.sh build PACKAGE FILE" >&2; exit 2; }
  build "$2" "$3"
  ;;
*)
  echo "usage: infra/release.sh [verify [ARCH...] | build PACKAGE FILE]" >&2
  exit 2
  ;;
esac
