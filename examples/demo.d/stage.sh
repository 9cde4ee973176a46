# shellcheck shell=bash
# How the demo speaks, runs programs, fails, and cleans up.

# What there is to clean up; empty while there is nothing.
SCRATCH=
BRIDGE=
QEMU_PID=
ATTENDED_PID=
# How it ended, for the last line.
VERDICT="FAILED: ended early"

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    BOLD=$'\e[1m' DIM=$'\e[2m' PLAIN=$'\e[0m'
else
    BOLD='' DIM='' PLAIN=''
fi

# step TITLE WHAT-TO-LOOK-AT
step() {
    printf '\n%s== %s%s\n' "$BOLD" "$1" "$PLAIN"
    [ -z "${2:-}" ] || note "$2"
}

note() {
    printf '%s   %s%s\n' "$DIM" "$1" "$PLAIN"
}

checked() {
    printf '   checked: %s\n' "$1"
}

fail() {
    VERDICT="FAILED: $1"
    exit 1
}

# attended COMMAND...: runs a program so that the demo can be interrupted meanwhile. A shell acts on a signal only
# between two programs, except in `wait`; the program has a session of its own, so that all of it can be ended.
attended() {
    local status=0
    setsid "$@" </dev/null &
    ATTENDED_PID=$!
    wait "$ATTENDED_PID" || status=$?
    ATTENDED_PID=
    return "$status"
}

interrupted() {
    VERDICT="interrupted by SIG$1"
    exit "$2"
}

# end_process PID [GROUP]: asks, then insists, then reaps.
end_process() {
    local pid="$1" target="$2" tries=0
    kill -TERM -- "$target" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null && [ $((tries += 1)) -le 20 ]; do
        sleep 0.1
    done
    kill -KILL -- "$target" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
}

# Only what this run started and made, by pid and by name; QEMU first, because its tap hangs on the bridge.
clean_up() {
    local status=$?
    trap '' INT TERM HUP PIPE
    set +e
    [ "$status" = 0 ] || show_logs
    [ -z "$ATTENDED_PID" ] || end_process "$ATTENDED_PID" "-$ATTENDED_PID"
    [ -z "$QEMU_PID" ] || end_process "$QEMU_PID" "$QEMU_PID"
    [ -z "$BRIDGE" ] || ip link del "$BRIDGE"
    [ -z "$SCRATCH" ] || rm -rf "$SCRATCH"
    if [ "$status" = 0 ]; then
        printf '\n%sdemo: OK%s %s\n' "$BOLD" "$PLAIN" "$VERDICT"
    else
        printf '\ndemo: %s\n' "$VERDICT" >&2
    fi
    exit "$status"
}

# What QEMU and the guest's kernel said last, when something failed; nobody needs that after an interruption.
show_logs() {
    local log
    case "$VERDICT" in interrupted*) return ;; esac
    for log in qemu.log console.log; do
        [ -s "$SCRATCH/$log" ] || continue
        printf '\n-- %s ends with:\n' "$log" >&2
        tail -n 15 "$SCRATCH/$log" >&2
    done
}
