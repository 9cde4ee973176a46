# shellcheck shell=bash
# Programs and packages for arm64, made here and run under qemu-user. To be sourced after common.sh, steps.sh
# and go.sh, which brings debian.sh.

ARM=aarch64-unknown-linux-gnu
ARM_CC=aarch64-linux-gnu-gcc
ARM_SYSROOT=/usr/aarch64-linux-gnu

# What runs programs of arm64 here.
find_arm_runner() {
    local qemu
    need_command "$ARM_CC" "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
    qemu="$(command -v qemu-aarch64-static || command -v qemu-aarch64)" || die "qemu-aarch64 is missing: apt-get install qemu-user-static"
    ARM_RUNNER="$qemu -L $ARM_SYSROOT"
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER="$ARM_CC"
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$ARM_RUNNER"
}

# Tests of the Go package that need neither QEMU nor a socket: that each function, field and value of the
# header is bound, records, errors, names.
ARM_GO_TESTS='^Test(EveryFunction|Enumerations|EveryField|TheHeader|Errors|NamesAreRead|Strings|Records|DevicesOfAGuest|BackingFiles|LogLines)'

# The Go package with cgo, against the library that cargo has built for arm64.
go_on_arm() {
    local library="$REPO_ROOT/target/$ARM/debug" scratch status=0
    if ! find_go; then
        not_run "arch, the Go package on aarch64" "no Go $(wanted_go) or newer here"
        return
    fi
    scratch="$(mktemp -d)"
    # Programs look for the library under its SONAME, which cargo gives no file.
    ln -s "$library/libkvm_hotplug.so" "$scratch/libkvm_hotplug.so.$(library_abi)"
    # shellcheck disable=SC2086
    (
        cd "$REPO_ROOT/bindings/go/kvmhotplug" &&
            export CGO_ENABLED=1 CC="$ARM_CC" GOARCH=arm64 CGO_LDFLAGS="-L$library" &&
            go vet -tags kvmhotplug_source ./... &&
            go test -c -tags kvmhotplug_source -o "$scratch/kvmhotplug.test" . &&
            $ARM_RUNNER -E LD_LIBRARY_PATH="$scratch" "$scratch/kvmhotplug.test" -test.run "$ARM_GO_TESTS" -test.v |
            tee "$scratch/said" &&
            grep -q '^--- PASS' "$scratch/said"
    ) || status=1
    rm -rf "$scratch"
    return "$status"
}

# A C compiler by its usual name, whose programs run here: what the Python package's test of its structs
# calls.
arm_compiler() {
    cat >"$1/cc" <<CC
#!/bin/sh
# The word after -o is the program.
program=
previous=
for word in "\$@"; do
    [ "\$previous" != -o ] || program="\$word"
    previous="\$word"
done
"$ARM_CC" "\$@" && mv "\$program" "\$program.arm64" &&
    printf '#!/bin/sh\nexec $ARM_RUNNER "%s" "\$@"\n' "\$program.arm64" >"\$program" && chmod 755 "\$program"
CC
    chmod 755 "$1/cc"
}

# The tests of the Python package's structs and names under an arm64 Python of Debian, unpacked.
python_on_arm() {
    local root="$BUILD_DIR/python-arm64" scratch status=0 python
    command -v mmdebstrap >/dev/null || {
        not_run "arch, the Python package on aarch64" "mmdebstrap, which unpacks a Python for it, is not here"
        return
    }
    [ -e "$root/usr/bin/python3" ] || DEBIAN_ARCHITECTURE=arm64 unpack_from_debian trixie python3 "$root"
    # What makes this link is a package that the root does not have.
    [ -e "$root/lib" ] || ln -s usr/lib "$root/lib"
    scratch="$(mktemp -d)"
    arm_compiler "$scratch"
    python="${ARM_RUNNER%% *} -L $root"
    # shellcheck disable=SC2086
    (cd "$REPO_ROOT/bindings/python" && TMPDIR="$scratch" PATH="$scratch:$PATH" PYTHONDONTWRITEBYTECODE=1 \
        KVM_HOTPLUG_LIBRARY="$REPO_ROOT/target/$ARM/debug/libkvm_hotplug.so" PYTHONHOME="$root/usr" \
        $python "$root/usr/bin/python3" -m unittest -v tests.test_header) || status=1
    rm -rf "$scratch"
    return "$status"
}

# The Debian packages, and what they say of their architecture.
deb_for_arm() {
    local name package
    if ! cargo deb --version >/dev/null 2>&1; then
        not_run "arch, Debian packages for arm64" "cargo-deb is not here (cargo install cargo-deb)"
        return
    fi
    rm -f "$BUILD_DIR"/*_arm64.deb
    make -C "$REPO_ROOT" deb TARGET="$ARM" CC="$ARM_CC" RUN="$ARM_RUNNER"
    for name in libkvm-hotplug0 libkvm-hotplug-dev kvmctl; do
        package="$(echo "$BUILD_DIR/${name}"_*_arm64.deb)"
        [ -e "$package" ] || die "there is no $name for arm64 in build"
        [ "$(dpkg-deb --field "$package" Architecture)" = arm64 ] ||
            die "$package is of architecture $(dpkg-deb --field "$package" Architecture)"
    done
    dpkg-deb --contents "$BUILD_DIR"/libkvm-hotplug0_*_arm64.deb | grep -q 'usr/lib/aarch64-linux-gnu/libkvm_hotplug.so' ||
        die "the library is not where arm64 looks for it"
}
