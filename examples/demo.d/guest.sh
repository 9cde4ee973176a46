# shellcheck shell=bash
# The guest: QEMU, the Linux in it, and the line to its shell (tests/guest/init is at the other end).

BOOT_SECONDS=90
ANSWER_SECONDS=30
TO_GUEST=
FROM_GUEST=

# qemu_command MACHINE ACCEL: one argument a line. Nothing but the machine itself, no NIC and no disk.
qemu_command() {
    local port
    printf '%s\n' qemu-system-x86_64 -nodefaults -display none -machine "$1" -accel "$2" -m 256
    [ "$2" != kvm ] || printf '%s\n' -cpu host
    if [ "$1" = q35 ]; then
        for port in 0 1 2 3; do
            printf '%s\n' -device "pcie-root-port,id=rp$port,bus=pcie.0,chassis=$((port + 1)),slot=$((port + 1))"
        done
    fi
    printf '%s\n' -kernel "$BUILD_DIR/guest/kernel" -initrd "$BUILD_DIR/guest/initramfs" \
        -append "console=ttyS0 quiet panic=-1 no_timer_check cryptomgr.notests" -serial "file:$SCRATCH/console.log" \
        -chardev "pipe,id=shell,path=$SCRATCH/shell" -serial chardev:shell \
        -qmp "unix:$SCRATCH/qmp,server=on,wait=off"
}

# QEMU is not to outlive the demo, not even when that is killed without a chance to clean up.
start_qemu() {
    mkfifo "$SCRATCH/shell.in" "$SCRATCH/shell.out"
    setpriv --pdeathsig KILL "$@" </dev/null >"$SCRATCH/qemu.log" 2>&1 &
    QEMU_PID=$!
    exec {TO_GUEST}<>"$SCRATCH/shell.in" {FROM_GUEST}<>"$SCRATCH/shell.out"
}

await_boot() {
    local line='' part ticks=0
    while [ "$line" != "=== ready ===" ]; do
        if IFS= read -r -t 0.5 part <&"$FROM_GUEST"; then
            line="$line$part"
            [ "$line" = "=== ready ===" ] || line=
        else
            line="$line$part"
            kill -0 "$QEMU_PID" 2>/dev/null || fail "QEMU has ended"
            [ $((ticks += 1)) -le $((BOOT_SECONDS * 2)) ] || fail "the guest has not booted in $BOOT_SECONDS s"
            printf .
        fi
    done
}

# guest COMMAND: runs one line of shell in the guest; prints what it prints, returns its exit status.
guest() {
    local line lines=()
    printf '%s\n' "$1" >&"$TO_GUEST"
    while IFS= read -r -t "$ANSWER_SECONDS" line <&"$FROM_GUEST"; do
        if [[ "$line" =~ ^===\ ([0-9]+)\ ===$ ]]; then
            # The newline before the marker is not part of the output.
            [ ${#lines[@]} -eq 0 ] || [ -n "${lines[-1]}" ] || unset 'lines[-1]'
            [ ${#lines[@]} -eq 0 ] || printf '%s\n' "${lines[@]}"
            return "${BASH_REMATCH[1]}"
        fi
        lines+=("$line")
    done
    printf 'demo: the guest does not answer to: %s\n' "$1" >&2
    return 255
}

# guest_until SECONDS COMMAND: asks again until the guest says yes. Devices come and go a moment after QEMU is done.
guest_until() {
    local end=$((SECONDS + $1))
    until guest "$2" >/dev/null; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}
