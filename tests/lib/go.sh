# shellcheck shell=bash
# Where Go is: the one in PATH, one beside it, or the one that unpack_go has fetched. To be sourced after common.sh.

# shellcheck source=debian.sh
. "$REPO_ROOT/tests/lib/debian.sh"

# For systems without a new one, such as Debian 12: from a release that has it. It needs no other program than gcc.
GO_SUITE=trixie
GO_UNPACKED="$BUILD_DIR/go/toolchain"

wanted_go() {
    sed -n 's/^go //p' "$REPO_ROOT/examples/go/kvmhotplug/go.mod"
}

go_is_new_enough() {
    local version
    # Not the toolchain that a go.mod asks for: what is here.
    version="$(cd / && GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null)" || return 1
    dpkg --compare-versions "${version#go}" ge "$(wanted_go)"
}

# Puts a Go that is new enough first in PATH.
find_go() {
    local go
    for go in go /usr/local/go/bin/go /usr/lib/go-*/bin/go "$GO_UNPACKED"/usr/lib/go-*/bin/go; do
        go="$(command -v "$go")" || continue
        if go_is_new_enough "$go"; then
            PATH="$(dirname "$go"):$PATH"
            export PATH GOTOOLCHAIN="${GOTOOLCHAIN:-local}" GOFLAGS="${GOFLAGS:-} -buildvcs=false"
            return
        fi
    done
    return 1
}

unpack_go() {
    unpack_from_debian "$GO_SUITE" golang-go "$GO_UNPACKED"
    find_go || die "the Go of Debian $GO_SUITE does not run here: install Go $(wanted_go) or newer, https://go.dev/dl"
}
