#!/usr/bin/env bash
# Makes a minimal Debian 12 in FOLDER, which must not exist, from where this machine gets its own
# packages. As root.
#
#   tests/container/make_debian.sh FOLDER
set -euo pipefail
folder=${1:?usage: make_debian.sh FOLDER}

apt-get update --quiet
sources=$(apt-get indextargets --format 'deb $(REPO_URI) $(CODENAME) $(COMPONENT)' \
  'Created-By: Packages' 'Origin: Debian' | grep ' bookworm' | sort --unique)
mirror=$(awk '$3 == "bookworm" { print $2; exit }' <<<"$sources")
debootstrap --variant=minbase bookworm "$folder" "$mirror"
echo "$sources" >"$folder/etc/apt/sources.list"
