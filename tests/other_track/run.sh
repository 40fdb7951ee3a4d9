#!/usr/bin/env bash
# Runs a part of the tests on the newer TFX track (1.21), on a machine whose own C library is too old for it:
# makes a Debian 13 (trixie) root with debootstrap, copies the work tree into it, and runs a make target there.
#
#   sudo tests/other_track/run.sh [ROOT [ARGUMENT OF MAKE]...]
#
# ROOT is kept and used again (about 5 GB; default: recommender-trixie in $TMPDIR); make's target is test-smoke by default.
# The last lines on stdout name the versions and the result; the whole log is ROOT/srv/log.txt. Mounts are made in a
# mount namespace of their own and processes in a process namespace, so that nothing stays behind, even after a kill.
# Proxies, certificates, pip's and uv's settings and the Debian mirror are taken from this machine.
set -euo pipefail

root=${1:-${TMPDIR:-/tmp}/recommender-trixie}
arguments=("${@:2}")
[ ${#arguments[@]} -gt 0 ] || arguments=(test-smoke)
checkout=$(cd "$(dirname "$0")/../.." && pwd)
packages=python3,python3-venv,python3-dev,make,g++,ca-certificates,curl  # curl stands on pages whose commands are run
marker=.recommender-other-track
needed_gb=8

# Exit code 3: such a root can't be made on this machine.
fail() {
    echo "other track: $1" >&2
    exit "${2:-2}"
}

# The first Debian mirror in this machine's sources, in the one-line or the deb822 form; nothing where it has none.
host_mirror() {
    grep -rhEo '^(deb|URIs:) .*' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null |
        grep -Eo 'https?://[^ ]+/debian/?( |$)' | head -n 1 | tr -d ' ' || true
}

make_root() {
    if ! command -v debootstrap > /dev/null; then
        echo "other track: installing debootstrap" >&2
        { apt-get install -y --no-install-recommends debootstrap ||
            { apt-get update && apt-get install -y --no-install-recommends debootstrap; }; } >&2 ||
            fail "debootstrap is missing and could not be installed." 3
    fi
    local free_gb
    free_gb=$(df --output=avail -BG "$(dirname "$root")" | tail -n 1 | tr -dc 0-9)
    [ "$free_gb" -ge "$needed_gb" ] || fail "$free_gb GB are free at $(dirname "$root"), $needed_gb are needed." 3
    echo "other track: making a Debian trixie root in $root" >&2
    rm -rf "$root.partial"
    # shellcheck disable=SC2046  # no mirror, no argument
    debootstrap --variant=minbase --include="$packages" trixie "$root.partial" $(host_mirror) > "$root.log" 2>&1 || {
        tail -n 5 "$root.log" >&2
        rm -rf "$root.partial"
        fail "debootstrap failed, see $root.log." 3
    }
    rm -rf "$root.partial"/var/cache/apt/archives/*.deb "$root.log"
    echo "$packages" > "$root.partial/$marker"
    rm -rf "$root"
    mv "$root.partial" "$root"
}

copy_if_there() {
    if [ -e "$1" ]; then
        mkdir -p "$root$(dirname "$1")"
        cp -L "$1" "$root$1"
    fi
}

[ "$(id -u)" = 0 ] || fail "run it as root: it makes a chroot."
mkdir -p "$(dirname "$root")"
root=$(cd "$(dirname "$root")" && pwd)/$(basename "$root")
if [ "$(cat "$root/$marker" 2>/dev/null || true)" != "$packages" ]; then
    # Never delete what this script has not made.
    if [ -e "$root" ] && [ ! -e "$root/$marker" ] && [ -n "$(ls -A "$root")" ]; then
        fail "$root exists and is not a root of this script: name another folder."
    fi
    make_root
fi

# The network as this machine has it.
for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt /etc/pip.conf; do
    copy_if_there "$file"
done
for file in .config/pip/pip.conf .pip/pip.conf .config/uv/uv.toml .netrc; do
    if [ -e "$HOME/$file" ]; then
        mkdir -p "$root/root/$(dirname "$file")"
        cp -L "$HOME/$file" "$root/root/$file"
    fi
done

# The work tree as git sees it, with changes that are not committed; the environment in the copy stays.
mkdir -p "$root/srv/checkout"
find "$root/srv/checkout" -mindepth 1 -maxdepth 1 ! -name .venv -exec rm -rf {} +
git -C "$checkout" ls-files --cached --others --exclude-standard -z |
    (cd "$checkout" && while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done) |
    tar -C "$checkout" --null --files-from=- -cf - | tar -C "$root/srv/checkout" --no-same-owner -xf -

# What an earlier run left in the root's /tmp.
find "$root/tmp" -mindepth 1 -delete

kept=()
while IFS= read -r name; do
    kept+=("$name=${!name}")
done < <(compgen -e | grep -E '^(CI$|PIP_|UV_|SSL_CERT|REQUESTS_CA|CURL_CA)|_(proxy|PROXY)$' | grep -vE '^UV_(CACHE_DIR|PYTHON)' ||
    true)

status=0
# shellcheck disable=SC2016  # the variables are the inner shell's
unshare --mount --pid --fork --kill-child --propagation private bash -c '
    set -e
    root=$1
    shift
    mount -t proc proc "$root/proc"
    mount --bind /dev "$root/dev"
    exec chroot "$root" /usr/bin/env -i HOME=/root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
' bash "$root" ${kept[@]+"${kept[@]}"} make -C /srv/checkout "${arguments[@]}" > "$root/srv/log.txt" 2>&1 || status=$?

# shellcheck disable=SC2016
versions=$(chroot "$root" /bin/sh -c '
    printf "Debian %s" "$(cat /etc/debian_version)"
    /srv/checkout/.venv/bin/python -c "
import platform
from importlib.metadata import version
names = [\"tfx\", \"tensorflow\", \"tensorflow-recommenders\", \"protobuf\", \"numpy\"]
print(\", Python\", platform.python_version(), *(f\", {name} {version(name)}\" for name in names), end=\"\")
" 2>/dev/null' | sed 's/ ,/,/g' || true)

grep -E "^(SKIPPED|FAILED|ERROR)" "$root/srv/log.txt" || true
tail -n 15 "$root/srv/log.txt" | grep -vE "^(SKIPPED|FAILED|ERROR)" || true
revision=$(git -C "$checkout" describe --always --dirty 2>/dev/null || echo "no commit")
echo "other track: $(date -u +%F), $revision, $versions"
if [ "$status" = 0 ]; then
    echo "other track: make ${arguments[*]} passed"
else
    echo "other track: make ${arguments[*]} failed ($status), see $root/srv/log.txt"
fi
exit "$status"
