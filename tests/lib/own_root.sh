# shellcheck shell=bash
# Root for those who are not: a user namespace in which the caller is root, with a network of its own to make
# taps and bridges in. To be sourced after common.sh.

# What is run in the namespaces. /sys shows the interfaces of the network that it was mounted in.
IN_OWN_NETWORK='mount -t sysfs none /sys && ip link set lo up && exec "$@"'

own_root() {
    unshare --user --map-root-user --net --mount sh -c "$IN_OWN_NETWORK" sh "$@"
}

# why_no_own_root: says nothing when own_root works here and a tap can be made, and otherwise what is missing.
why_no_own_root() {
    local said
    if [ ! -r /dev/net/tun ] || [ ! -w /dev/net/tun ]; then
        echo "$(id -un) may not open /dev/net/tun"
    elif ! said="$(own_root true 2>&1)"; then
        echo "no user and network namespace can be made: ${said//$'\n'/; }"
    elif ! said="$(own_root ip tuntap add dev probe0 mode tap 2>&1)"; then
        echo "no tap can be made in a user and network namespace: ${said//$'\n'/; }"
    fi
}

# as_root COMMAND...: by root, or by who is root in namespaces of their own.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else own_root "$@"; fi
}
