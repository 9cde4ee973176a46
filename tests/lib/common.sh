# shellcheck shell=bash
# What every script of the tests needs: where the repository is, how to speak, how to use apt.

# A plain user's PATH on Debian leaves out where ip, modprobe and depmod live.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export PATH

REPO_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
# The scripts that source this file use it.
# shellcheck disable=SC2034
BUILD_DIR="$REPO_ROOT/build"

wanted_rust() {
    sed -n 's/^rust-version = "\(.*\)"/\1/p' "$REPO_ROOT/Cargo.toml"
}

# Ubuntu has compilers that are newer than its usual one beside that, each in a folder of its own.
# /usr/bin/cargo-1.85 is no way to them: it may call the usual compiler.
use_rust_beside() {
    local all=(/usr/lib/rust-*/bin/cargo) beside
    [ -x "${all[0]}" ] || return 0
    beside="$(dirname "$(printf '%s\n' "${all[@]}" | sort -V | tail -n 1)")"
    dpkg --compare-versions "$(cargo --version 2>/dev/null | cut -d' ' -f2)" ge "$(wanted_rust)" || PATH="$beside:$PATH"
}
use_rust_beside

say() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
}

die() {
    say "$*"
    exit 1
}

# What tests could not run on this machine: a line for each, with its name and the reason. tests/run shows it
# at its end.
NOT_RUN="${KVM_HOTPLUG_NOT_RUN:-$BUILD_DIR/not-run}"

# not_run NAME REASON: for what a machine lacks and tests/bin/setup cannot install. What it does install has
# to be there.
not_run() {
    mkdir -p "$(dirname "$NOT_RUN")"
    printf '%s: %s\n' "$1" "$2" >>"$NOT_RUN"
    say "NOT RUN: $1: $2"
}

forget_not_run() {
    mkdir -p "$(dirname "$NOT_RUN")"
    : >"$NOT_RUN"
}

# A test that runs once for each machine says it once for each.
show_not_run() {
    local list
    list="$(sort -u "$NOT_RUN")"
    printf '\nnot run on this machine: %d\n' "$(grep -c . <<<"$list")"
    [ -z "$list" ] || sed 's/^/    /' <<<"$list"
}

need_command() {
    local package="$2"
    command -v "$1" >/dev/null || die "$1 is missing: run tests/bin/setup, or apt-get install $package"
}

# The version apt would install, empty when it knows none.
apt_candidate() {
    LC_ALL=C apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: //p' | grep -vx '(none)' || true
}

# Fetches the package lists: only root can, and only when a caller found them wanting.
apt_update() {
    [ "$(id -u)" = 0 ] || die "apt's package lists are missing or old: run 'apt-get update' as root"
    say "fetching apt's package lists"
    apt-get update -q >/dev/null || die "'apt-get update' failed; see its messages above"
}

# A lookup in the package lists of a fresh machine must not read as "there is no such package".
apt_lists_present() {
    local policy
    policy="$(LC_ALL=C apt-cache policy base-files 2>/dev/null)"
    grep -qE '^ +[0-9]+ (https?|file|copy|mirror|cdrom)' <<<"$policy"
}

# apt_fetch DIRECTORY PACKAGE...: downloads without installing, with the lists renewed once if they are stale.
apt_fetch() {
    local into="$1"
    shift
    mkdir -p "$into"
    apt_try_fetch "$into" "$@" && return 0
    apt_update
    apt_try_fetch "$into" "$@" || die "apt-get download $* failed"
}

# Root's download is done by root itself: the sandbox user apt prefers cannot write into a checkout.
apt_try_fetch() {
    (cd "$1" && shift && apt-get download -q -o APT::Sandbox::User=root "$@" >/dev/null)
}

# sha256 of the concatenated files, short enough for a file name.
content_key() {
    cat -- "$@" | sha256sum | cut -c1-16
}
