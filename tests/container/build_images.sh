#!/usr/bin/env bash
# Builds the Dockerfile's TARGETs with buildah, as root, without an engine or a registry: the base image
# is a Debian 12 of debootstrap's, a finished build stands in for the compile stages, and this machine's
# CUDA toolkit for its image.
#
#   tests/container/build_images.sh BUILD TARGET...
#
# BUILD is a build folder with deltaserve and deltactl, and libdeltaserve_cuda.so for the target cuda.
# Prints, as lines KEY=VALUE: base_bytes; and for each target TARGET.description (a file, of buildah
# inspect) and TARGET.root (where the image's files are mounted, until the next build). Everything is
# kept in build/container; the base image is made once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

build=${1:?usage: build_images.sh BUILD TARGET...}
shift
work=$PWD/build/container
base_tar=$work/base.tar
mkdir -p "$work"
exec 3>&1 >&2  # the results go to 3, everybody's talk to standard error

export BUILDAH_ISOLATION=chroot
b() { buildah --storage-driver vfs --root "$work/storage" --runroot "$work/run" "$@"; }

if [ ! -f "$base_tar" ]; then
  rm -rf "$work/base"
  tests/container/make_debian.sh "$work/base"
  # As the slim images are: without package files, and documentation kept out from here on.
  rm -rf "$work/base"/var/cache/apt/* "$work/base"/var/lib/apt/lists/*
  cat >"$work/base/etc/dpkg/dpkg.cfg.d/slim" <<'SLIM'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/man/*
path-exclude /usr/share/locale/*
SLIM
  tar --create --file "$base_tar.partial" --directory "$work/base" --one-file-system .
  rm -rf "$work/base"
  mv "$base_tar.partial" "$base_tar"
fi

# What earlier runs left, which nobody else uses.
b rm --all >/dev/null
b rmi --all --force >/dev/null 2>&1 || true

base=$(b from scratch)
b add --quiet "$base" "$base_tar" / >/dev/null
b commit --quiet --format docker "$base" localhost/deltaserve-base >/dev/null
base_bytes=$(du --summarize --block-size=1 "$(b mount "$base")" | cut -f 1)
b rm "$base" >/dev/null

rm -rf "$work/stage"
DESTDIR=$work/stage cmake --install "$build" --component server --strip --prefix /opt/deltaserve
# What the targets share is built once.
b_build() {
  b build --quiet --format docker --pull=never --build-arg BASE_IMAGE=localhost/deltaserve-base \
    --build-arg MODELS=demo --build-arg REVISION=tested --build-context "build=$work/stage" \
    --build-context "build-cuda=$work/stage" --build-context toolkit=/ "$@" .
}
b_build --target runtime --tag localhost/deltaserve-runtime
for target in "$@"; do
  image=localhost/deltaserve:$target
  b_build --target "$target" --tag "$image" \
    --build-context runtime=container-image://localhost/deltaserve-runtime
  container=$(b from --pull=never "$image")
  b inspect --type image "$image" >"$work/$target.json"
  echo "$target.description=$work/$target.json" >&3
  echo "$target.root=$(b mount "$container")" >&3
done
echo "base_bytes=$base_bytes" >&3
