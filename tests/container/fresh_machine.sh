#!/usr/bin/env bash
# Tries the README's two commands as a new user would: on a Debian 12 that has nothing but its base
# system, in a clean checkout of this repository's HEAD. By hand and as root; it takes as long as
# installing, compiling and testing everything do. The two commands' exit codes and times end its output,
# and the file that it names has all that they said.
#
#   tests/container/fresh_machine.sh [FOLDER]
#
# FOLDER (default: build/fresh) must not exist; the machine's files, log and summary are left in it. The
# machine has processes and mounts of its own, and this one's network with its certificate authorities.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

folder=$(realpath --canonicalize-missing "${1:-build/fresh}")
root=$folder/root
log=$folder/log
if [ -e "$folder" ]; then
  echo "fresh_machine.sh: $folder exists" >&2
  exit 2
fi
mkdir -p "$folder"
tests/container/make_debian.sh "$root" >"$log" 2>&1
git clone --quiet --no-hardlinks . "$root/deltaserve"
revision=$(git -C "$root/deltaserve" rev-parse --short HEAD)
cp /etc/resolv.conf /etc/hosts "$root/etc/"
cp --dereference /etc/ssl/certs/ca-certificates.crt "$root/root/authorities.pem"

# Runs a command in the machine's checkout, as its root, with nothing of this environment.
inside() {
  # shellcheck disable=SC2016  # for the inner shell
  unshare --mount --pid --fork --kill-child sh -ec '
    for shared in dev sys; do mount --rbind "/$shared" "$1/$shared"; done
    mount -t tmpfs tmpfs "$1/dev/shm"
    mount -t proc proc "$1/proc"
    exec chroot "$@"' sh "$root" /usr/bin/env --ignore-environment --chdir=/deltaserve HOME=/root \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    PIP_CERT=/root/authorities.pem "$@"
}

failed=0
summary=()
for command in deploy/quickstart.sh tests/run.sh; do
  printf '\n\n$ %s\n' "$command" >>"$log"
  start=$SECONDS code=0
  inside "$command" </dev/null >>"$log" 2>&1 || code=$?
  [ "$code" -eq 0 ] || failed=1
  took=$((SECONDS - start))
  summary+=("$(printf '%-22s exit code %d  %3d:%02d' "$command" "$code" $((took / 60)) $((took % 60)))")
  echo "${summary[-1]}"
done
echo "$revision on $(nproc) cores; $(inside dpkg-query --show | wc -l) packages" \
  "are installed now; the log is $log"
exit "$failed"
