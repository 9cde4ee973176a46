# shellcheck shell=bash
# Where Go is. Distributions keep several versions beside each other, in /usr/lib/go-VERSION.

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
    for go in go /usr/local/go/bin/go /usr/lib/go-*/bin/go; do
        go="$(command -v "$go")" || continue
        if go_is_new_enough "$go"; then
            PATH="$(dirname "$go"):$PATH"
            export PATH GOTOOLCHAIN="${GOTOOLCHAIN:-local}" GOFLAGS="${GOFLAGS:-} -buildvcs=false"
            return
        fi
    done
    return 1
}
