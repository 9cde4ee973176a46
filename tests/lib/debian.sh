# shellcheck shell=bash
# Packages of other Debian releases, unpacked into a folder and not installed. To be sourced after common.sh.

# Archived suites move from the first to the second.
DEBIAN_MIRRORS=(http://deb.debian.org/debian http://archive.debian.org/debian)

debian_keyring() {
    local file
    for file in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
        if [ -e "$file" ]; then
            echo "$file"
            return
        fi
    done
    die "Debian's keys are missing: apt-get install debian-archive-keyring"
}

# Mirrors have bad moments.
ATTEMPTS=3

# extract SUITE PACKAGE MIRROR INTO KEYRING. The variant "extract" runs nothing inside, so it needs neither
# chroot nor mounts nor root; sid and archived suites are past the date their release file is valid until. As
# root, apt would fetch and check signatures as a user of its own, who cannot do so everywhere (below /root,
# or where /dev/null is not for all).
extract() {
    mmdebstrap --verbose --mode=chrootless --variant=extract --include="$2" \
        ${DEBIAN_ARCHITECTURE:+--architectures="$DEBIAN_ARCHITECTURE"} \
        --aptopt='Acquire::Check-Valid-Until "false"' \
        --aptopt='APT::Install-Recommends "false"' \
        --aptopt='APT::Sandbox::User "root"' \
        "$1" "$4" "deb [signed-by=$5] $3 $1 main"
}

# unpack_from_debian SUITE PACKAGE INTO: with all that the package depends on. DEBIAN_ARCHITECTURE is another
# one than this machine's.
unpack_from_debian() {
    local suite="$1" package="$2" into="$3" keys mirror attempt log
    keys="$(debian_keyring)"
    log="$(mktemp "$BUILD_DIR/unpacking.XXXXXX")"
    say "unpacking $package of Debian $suite"
    for ((attempt = 1; attempt <= ATTEMPTS; attempt++)); do
        sleep $(((attempt - 1) * 5))
        for mirror in "${DEBIAN_MIRRORS[@]}"; do
            rm -rf "$into"
            if extract "$suite" "$package" "$mirror" "$into" "$keys" >"$log" 2>&1; then
                rm -rf "$log" "${into:?}"/usr/share/{doc,man,locale} "${into:?}"/{var,dev}
                return
            fi
            echo "from $mirror:" >&2
            # The last lines say only which program has failed.
            grep -E '^(Err|E):' "$log" >&2 || tail -n 20 "$log" >&2
        done
    done
    rm -f "$log"
    die "could not unpack $package of Debian $suite from ${DEBIAN_MIRRORS[*]}"
}

TRIPLET=x86_64-linux-gnu

# write_loader ROOT: the beginning of a wrapper that lies beside ROOT: it sets $root, $loader and $libraries,
# with which a program of that system runs on this one.
write_loader() {
    local lib
    # Before /usr was merged the C library lived in /lib, with other libraries in /usr/lib.
    for lib in lib usr/lib; do
        [ ! -e "$1/$lib/$TRIPLET/ld-linux-x86-64.so.2" ] || break
    done
    [ -e "$1/$lib/$TRIPLET/ld-linux-x86-64.so.2" ] || die "no dynamic loader below $1"
    cat <<LOADER
#!/bin/sh
root="\${0%/*}/root"
loader="\$root/$lib/$TRIPLET/ld-linux-x86-64.so.2"
libraries="\$root/lib/$TRIPLET:\$root/usr/lib/$TRIPLET"
LOADER
}
