# shellcheck shell=bash
# Where Go is: the one in PATH, one beside it, or the one that unpack_go has fetched. To be sourced after
# common.sh.

# shellcheck source=debian.sh
. "$REPO_ROOT/tests/lib/debian.sh"

# For systems without a new one, such as Debian 12: from a release that has it. It needs no other program than
# gcc.
GO_SUITE=trixie
GO_UNPACKED="$BUILD_DIR/go/toolchain"

wanted_go() {
    sed -n 's/^go //p' "$REPO_ROOT/bindings/go/go.mod"
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

# Where there is Go.
go_folders() {
    find "$REPO_ROOT" -name go.mod -not -path "$BUILD_DIR/*" -not -path '*/target/*' -exec dirname {} \;
}

# The number in which the SONAME of the library ends.
library_abi() {
    sed -n 's/^#define KVM_HOTPLUG_ABI_VERSION \([0-9]*\)$/\1/p' "$REPO_ROOT/include/kvm_hotplug.h"
}

# What `make install` lays out, by links, so that the package is built as its users build it.
stage_library() {
    local libdir="${KVM_HOTPLUG_LIBDIR:-$REPO_ROOT/target/release}" prefix="$BUILD_DIR/go/prefix" abi
    [ -e "$libdir/libkvm_hotplug.so" ] || die "$libdir/libkvm_hotplug.so is missing: run 'cargo build --release'"
    abi="$(library_abi)"
    mkdir -p "$prefix/lib/pkgconfig" "$prefix/include"
    ln -sfn "$libdir/libkvm_hotplug.so" "$prefix/lib/libkvm_hotplug.so"
    ln -sfn "$libdir/libkvm_hotplug.so" "$prefix/lib/libkvm_hotplug.so.$abi"
    ln -sfn "$REPO_ROOT/include/kvm_hotplug.h" "$prefix/include/kvm_hotplug.h"
    sed -e "s|@PREFIX@|$prefix|" -e "s|@LIBDIR@|$prefix/lib|" -e "s|@INCLUDEDIR@|$prefix/include|" \
        -e "s|@VERSION@|0|" -e "s|@STATIC_LIBS@||" -e "s|@RPATH@||" "$REPO_ROOT/packaging/kvm_hotplug.pc.in" \
        >"$prefix/lib/pkgconfig/kvm_hotplug.pc"
    export PKG_CONFIG_PATH="$prefix/lib/pkgconfig" LD_LIBRARY_PATH="$prefix/lib"
    (cd "$REPO_ROOT" && CARGO_TERM_QUIET=true build_tools)
    export KVM_FAKE_QEMU="$REPO_ROOT/target/tools/kvm-fake-qemu"
}

# modules_are_here MODULE: whether the modules of others that it needs are in Go's own cache, or can be
# fetched. Once there, they need no network.
modules_are_here() {
    (cd "$1" && timeout 300 go mod download 2>/dev/null) || {
        not_run "Go tests of $1" "the modules of others that it needs cannot be fetched (go mod download)"
        return 1
    }
}
