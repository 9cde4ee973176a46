#!/bin/bash
# Which accelerator the tests' QEMU can really use here. Run it (`tests/lib/accel.sh [QEMU]` prints kvm or
# tcg) or source it, after common.sh, for usable_accel.
#
# /dev/kvm is no proof: there are hosts where it opens and creates a machine, and QEMU then dies setting the
# first register, or starts and runs firmware but never gets through a kernel. So the tests' own guest is
# booted for real; with working hardware virtualisation that takes well under a second.

ACCEL_PROBE_SECONDS=5

usable_accel() {
    local qemu="${1:-${KVM_HOTPLUG_TEST_QEMU:-qemu-system-x86_64}}"
    if [ ! -w /dev/kvm ]; then
        echo tcg
    elif [ ! -e "$BUILD_DIR/guest/kernel" ]; then
        say "no build/guest to try KVM with (make it with tests/guest/build), so emulation it is"
        echo tcg
    else
        remembered_accel "$qemu"
    fi
}

# One answer per boot of this machine, per QEMU and per guest: a failing attempt costs the whole waiting time.
remembered_accel() {
    local key memo
    key="$(cat /proc/sys/kernel/random/boot_id "$BUILD_DIR/guest/key"; "$1" --version)"
    memo="$BUILD_DIR/guest/accel-$(sha256sum <<<"$key" | cut -c1-16)"
    if [ ! -s "$memo" ]; then
        if (boots_with_kvm "$1") 2>/dev/null; then echo kvm; else echo tcg; fi >"$memo"
    fi
    cat "$memo"
}

# To be called in a subshell without stderr: a QEMU that aborts makes the shell report it, and may dump core.
boots_with_kvm() {
    local log pid result=1
    ulimit -c 0
    log="$(mktemp)"
    timeout "$ACCEL_PROBE_SECONDS" "$1" -accel kvm -cpu host -machine pc -m 256 -nodefaults -display none \
        -kernel "$BUILD_DIR/guest/kernel" -initrd "$BUILD_DIR/guest/initramfs" -append "quiet panic=-1 no_timer_check cryptomgr.notests" \
        -serial null -serial "file:$log" >/dev/null 2>&1 &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        if grep -q '=== ready ===' "$log"; then
            result=0
            break
        fi
        sleep 0.05
    done
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    rm -f "$log"
    return "$result"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    set -euo pipefail
    # shellcheck source=common.sh
    . "$(dirname "${BASH_SOURCE[0]}")/common.sh"
    usable_accel "$@"
fi
