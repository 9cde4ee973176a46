# shellcheck shell=bash
# Before the show: packages, the guest and kvmctl.

# The other parts use it.
# shellcheck disable=SC2034
KVMCTL="$REPO_ROOT/target/tools/kvmctl"

prepare() {
    step "Getting ready" "packages, the guest's kernel, kvmctl; only what is missing"
    find_cargo_of_caller
    # Not attended: a half-installed package is worse than an interruption that waits.
    tests/bin/setup --demo || fail "set-up: see the message above"
    attended tests/guest/build || fail "no kernel for the guest: see the message above"
    attended cargo build --locked --profile tools --package kvmctl --package fake-qemu || fail "kvmctl does not build"
    check_taps
}

# rustup puts a toolchain into the home of whoever called it, where sudo hides it. It goes before the distribution's,
# which may be too old.
find_cargo_of_caller() {
    local home
    home="$(getent passwd "${SUDO_USER:-root}" | cut -d: -f6)"
    if [ -x "$home/.cargo/bin/cargo" ]; then
        export PATH="$home/.cargo/bin:$PATH" RUSTUP_HOME="${RUSTUP_HOME:-$home/.rustup}"
    fi
}

check_taps() {
    [ -c /dev/net/tun ] || modprobe tun 2>/dev/null || true
    [ -c /dev/net/tun ] || fail "no /dev/net/tun: load the kernel's tun module, or pass the device into the container"
}
