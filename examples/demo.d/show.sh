# shellcheck shell=bash
# The show itself. Everything it claims is checked.

# One of the 32768 networks of four addresses in the range for benchmarks (RFC 2544), which nobody uses. By process id,
# in case the bridge of a run that was killed is still there.
NETWORK="198.$((18 + $$ / 16384 % 2)).$(($$ / 64 % 256))"
HOST_ADDRESS="$NETWORK.$(($$ % 64 * 4 + 1))"
GUEST_ADDRESS="$NETWORK.$(($$ % 64 * 4 + 2))"
DISK_MEGABYTES=16
SERIAL=demo-disk

show() {
    local machine="$1" accel="$2"
    SCRATCH="$(mktemp -d /tmp/kvm-hotplug-demo.XXXXXX)"
    SECONDS=0
    boot "$machine" "$accel"
    look "Before: neither NIC nor disk" "the guest's own view, and the map of its slots by kvmctl"
    cp "$SCRATCH/runtime" "$SCRATCH/runtime.before"
    plug_nic
    plug_disk
    look "With both" "the guest's own view has an interface and a disk more, the map has NIC and DSK"
    kvmctl list
    unplug
    look "After: as before" "nothing is left"
    check_nothing_left
    # The verdict is printed when everything is cleaned up.
    # shellcheck disable=SC2034
    VERDICT="machine $machine ($accel), NIC and disk plugged, used and removed in $SECONDS s"
}

kvmctl() {
    attended "$KVMCTL" --socket "$SCRATCH/qmp" --runtime "$SCRATCH/runtime" "$@"
}

boot() {
    local machine="$1" accel="$2" command
    mapfile -t command < <(qemu_command "$machine" "$accel")
    step "Booting a small Linux guest: machine $machine, $(accel_in_words "$accel")"
    printf '   booting '
    start_qemu "${command[@]}"
    await_boot
    printf ' after %s s\n' "$SECONDS"
    "$KVMCTL" --runtime "$SCRATCH/runtime" init --name demo -- "${command[@]}" >/dev/null ||
        fail "kvmctl cannot make a runtime file"
}

accel_in_words() {
    if [ "$1" = kvm ]; then echo "with KVM"; else echo "by plain emulation (no KVM that works here)"; fi
}

# A prompt and a command, then what the guest answers.
guest_shows() {
    printf '%sguest#%s %s\n' "$BOLD" "$PLAIN" "$1"
    guest "$1" >"$SCRATCH/shown" || fail "'$1' failed in the guest"
    [ -s "$SCRATCH/shown" ] || echo "(nothing)" >"$SCRATCH/shown"
    sed 's/^/   /' "$SCRATCH/shown"
}

look() {
    step "$1" "$2"
    guest_shows "ip link"
    guest_shows "cat /proc/partitions"
    kvmctl map || fail "kvmctl cannot draw the map"
}

# run_kvmctl WHAT ARGUMENT...: shows the command line and what comes out, which stays in the file "said".
run_kvmctl() {
    printf '%shost#%s kvmctl %s\n' "$BOLD" "$PLAIN" "$*"
    kvmctl "$@" >"$SCRATCH/said" || fail "kvmctl $1 ended with status $?"
    read -r DEVICE_ID _ <"$SCRATCH/said"
    sed 's/^/   /' "$SCRATCH/said"
}

plug_nic() {
    local mac interface
    step "Plugging a NIC" "a tap on a bridge, handed to QEMU; the guest gets an interface with that MAC address"
    make_bridge
    run_kvmctl add-nic --bridge "$BRIDGE" --queues 2
    NIC_ID="$DEVICE_ID"
    mac="$(grep -Eo 'MAC [0-9a-f:]+' "$SCRATCH/said")"
    NIC_MAC="${mac#MAC }"
    NIC_TAP="$(sed -n 's/.*, tap \([^ ]*\).*/\1/p' "$SCRATCH/said")"
    guest_until 10 "grep -qx $NIC_MAC /sys/class/net/*/address" || fail "the guest does not see the NIC"
    interface="$(guest "grep -lx $NIC_MAC /sys/class/net/*/address | cut -d/ -f5")"
    checked "the guest has $interface with $NIC_MAC"
    ip link show master "$BRIDGE" | grep -q " $NIC_TAP:" || fail "$NIC_TAP is not on $BRIDGE"
    checked "$NIC_TAP is on $BRIDGE"
    guest "ip addr add $GUEST_ADDRESS/30 dev $interface && ip link set $interface up" ||
        fail "the guest cannot set $interface up"
    ping_both_ways
    count_packets "$interface"
}

make_bridge() {
    # At most 15 characters; a process id has at most 7.
    BRIDGE="demo$$"
    ip link add "$BRIDGE" type bridge || fail "no bridge can be made here (is this a container without CAP_NET_ADMIN?)"
    ip addr add "$HOST_ADDRESS/30" dev "$BRIDGE"
    ip link set "$BRIDGE" up
}

ping_both_ways() {
    local answers
    printf '%shost#%s ping %s\n' "$BOLD" "$PLAIN" "$GUEST_ADDRESS"
    attended ping -n -c 3 -i 0.3 -w 15 "$GUEST_ADDRESS" >"$SCRATCH/said" || fail "the host cannot ping the guest"
    grep -E 'bytes from|packets' "$SCRATCH/said" | sed 's/^/   /'
    answers="$(sed -n 's/.* \([0-9]*\) received.*/\1/p' "$SCRATCH/said")"
    [ "${answers:-0}" -ge 3 ] || fail "the guest answered $answers of 3 pings"
    guest_shows "ping -c 3 -w 15 $HOST_ADDRESS" >"$SCRATCH/said"
    grep -vE '^ *$|^ *---|^ *PING|min/avg' "$SCRATCH/said"
    grep -q ' 3 packets received' "$SCRATCH/said" || fail "the host did not answer the guest's 3 pings"
    checked "3 of 3 answers each way"
}

# Both ends have counted them: at least the six requests and answers in each direction.
count_packets() {
    local interface="$1" received sent
    received="$(guest "cat /sys/class/net/$interface/statistics/rx_packets")"
    sent="$(guest "cat /sys/class/net/$interface/statistics/tx_packets")"
    if [ "$received" -lt 6 ] || [ "$sent" -lt 6 ]; then
        fail "only $received packets in and $sent out on the guest's $interface"
    fi
    checked "the guest's $interface counts $received packets in and $sent out"
}

plug_disk() {
    local disk written found
    step "Plugging a disk" "kvmctl opens the image and hands it to QEMU; what the guest writes is in the image"
    truncate -s "${DISK_MEGABYTES}M" "$SCRATCH/disk.img"
    run_kvmctl add-disk --path "$SCRATCH/disk.img" --serial "$SERIAL"
    DISK_ID="$DEVICE_ID"
    guest_until 10 "grep -qx $SERIAL /sys/block/*/serial" || fail "the guest does not see the disk"
    disk="$(guest "grep -lx $SERIAL /sys/block/*/serial | cut -d/ -f4")"
    [ "$(guest "cat /sys/block/$disk/size")" = $((DISK_MEGABYTES * 2048)) ] || fail "/dev/$disk has another size"
    checked "the guest has /dev/$disk of $DISK_MEGABYTES MiB with serial $SERIAL"
    guest_shows "head -c 1048576 /dev/urandom >/tmp/data; dd if=/tmp/data of=/dev/$disk bs=64k conv=fsync 2>&1"
    guest_shows "sha256sum </tmp/data"
    written="$(guest "sha256sum </tmp/data" | cut -d' ' -f1)"
    printf '%shost#%s head -c 1048576 disk.img | sha256sum\n' "$BOLD" "$PLAIN"
    found="$(head -c 1048576 "$SCRATCH/disk.img" | sha256sum | cut -d' ' -f1)"
    printf '   %s\n' "$found"
    [ "$found" = "$written" ] || fail "the image has other data than the guest wrote"
    checked "the host reads from the image what the guest wrote"
}

unplug() {
    step "Removing both" "the guest is asked, and waited for; only then are tap and image let go"
    run_kvmctl del "$NIC_ID"
    run_kvmctl del "$DISK_ID"
}

check_nothing_left() {
    guest_until 5 "! grep -qx $NIC_MAC /sys/class/net/*/address" || fail "the guest still has the NIC"
    guest_until 5 "! grep -qsx $SERIAL /sys/block/*/serial" || fail "the guest still has the disk"
    checked "the guest has neither of them"
    ! ip link show "$NIC_TAP" >/dev/null 2>&1 || fail "the tap $NIC_TAP is still there"
    ! disk_is_open || fail "QEMU still has the image open"
    checked "the tap is gone, and QEMU has closed the image"
    # Its count of attachments goes on, so that a new device is never taken for an old one.
    cmp -s <(grep -v next_generation "$SCRATCH/runtime.before") <(grep -v next_generation "$SCRATCH/runtime") ||
        fail "the runtime file is not as it was before"
    checked "the runtime file is as it was before, but for the number of the next attachment"
}

disk_is_open() {
    local fd
    for fd in "/proc/$QEMU_PID/fd/"*; do
        [ "$(readlink "$fd")" != "$SCRATCH/disk.img" ] || return 0
    done
    return 1
}
