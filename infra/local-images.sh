#!/bin/sh
# Builds the images of docker-compose.weatherlight.yml without a registry: from
# this source with the Go that is installed, and from the redis-server that is
# installed. Prints the variables by which the compose file takes them:
#
#   images=$(infra/local-images.sh) && eval "$images" &&
#   docker-compose -f infra/docker-compose.weatherlight.yml up -d
#
# IMAGE_TAG is the tag of the images, "local" by default. With REDIS_IMAGE set,
# Redis comes from that image, and none needs to be installed. The first time it
# takes a minute or two; what it does stands on stderr.
set -eu
cd "$(dirname "$0")/.."
umask 022 # the images are run by users of their own

tag=${IMAGE_TAG:-local}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() { echo "infra/local-images.sh: $*" >&2; exit 1; }

# image VARIABLE NAME: what is in $work/NAME as an image.
image() {
  echo "infra/local-images.sh: $2:$tag" >&2
  docker build -q -t "$2:$tag" "$work/$2" >"$work/log" 2>&1 || fail "docker build of $2: $(cat "$work/log")"
  echo "export $1=$2:$tag"
}

# redis: the installed Redis with its shared libraries, in the shape of the
# official image: user 999, /data.
redis() {
  dir=$work/esper-redis
  mkdir -p "$dir/root/usr/bin" "$dir/data"
  for program in redis-server redis-cli; do
    path=$(command -v $program) || fail "no $program on this machine: install Redis 7.0 or later, or set REDIS_IMAGE"
    cp -L "$path" "$dir/root/usr/bin/"
    for library in $(ldd "$path" | grep -o '/[^ ]*'); do
      mkdir -p "$dir/root${library%/*}"
      cp -L "$library" "$dir/root$library"
    done
  done
  printf 'FROM scratch\nCOPY root /\nCOPY --chown=999:999 data /data\nUSER 999:999\n' >"$dir/Dockerfile"
  image REDIS_IMAGE esper-redis
}

# ours VARIABLE NAME STAGE BINARY PACKAGE: a last stage of infra/Dockerfile, which
# takes from a folder what it takes from the first stage there.
ours() {
  out=$work/$2/out
  mkdir -p "$out/state"
  echo "infra/local-images.sh: compiling $5" >&2
  GOOS=linux GOARCH=$arch infra/release.sh build "$5" "$out/$4"
  cp -L /etc/ssl/certs/ca-certificates.crt "$out/" 2>/dev/null || {
    echo "$2 gets no CA certificates: there is no /etc/ssl/certs/ca-certificates.crt here" >&2
    : >"$out/ca-certificates.crt"
  }
  awk -v stage=" AS $3\$" '/^FROM /{within = $0 ~ stage} within' infra/Dockerfile |
    sed 's|--from=build ||; s| /out/| out/|' >"$work/$2/Dockerfile"
  image "$1" "$2"
}

arch=$(docker version --format '{{.Server.Arch}}') || fail "no docker engine answers"
# The builder that comes with the engine will do: BuildKit is a plugin of its own.
docker buildx version >/dev/null 2>&1 || export DOCKER_BUILDKIT=0
if [ -n "${REDIS_IMAGE:-}" ]; then echo "export REDIS_IMAGE=$REDIS_IMAGE"; else redis; fi
ours WEATHERLIGHT_IMAGE esper-weatherlight service esper-weatherlight-service ./cmd/esper-weatherlight-service
ours NISSA_IMAGE esper-nissa nissa esper-nissa ./examples/nissa
