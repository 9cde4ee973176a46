# shellcheck shell=bash
# What tests/run and the scripts that it calls have in common. To be sourced after common.sh.

# shellcheck disable=SC2034
JOBS="$(nproc)"
# Tests with a real QEMU wait for the kernel, a guest or a deadline half of their time.
# shellcheck disable=SC2034
AT_ONCE="$((JOBS + 2))"
# Where the C programs of `tests/run one` find the library.
# shellcheck disable=SC2034
QUICK_LIBRARY="$REPO_ROOT/target/ctest"

heading() {
    printf '\n== %s\n' "$*"
}

# The comment at the beginning of the script.
usage() {
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
}

# Runs tests with a folder for their temporary files, open to QEMU as another user, which has to be empty
# afterwards.
cleanly() {
    local status=0
    FOLDER="$(mktemp -d)"
    chmod 755 "$FOLDER"
    TMPDIR="$FOLDER" "$@" || status=$?
    if [ "$status" = 0 ] && [ -n "$(ls -A "$FOLDER")" ]; then
        find "$FOLDER" -mindepth 1 >&2
        say "the tests have left that behind"
        status=1
    fi
    rm -rf "$FOLDER"
    FOLDER=
    return "$status"
}

# Also when a test fails, or somebody interrupts it, no folder is left.
remove_folder() {
    rm -rf ${FOLDER:+"$FOLDER"}
}

# The library that C programs link, without the one for Rust, so that link-time optimisation is for the whole
# of it. As in the Makefile, so that nothing is built twice.
build_library() {
    heading "building the library"
    cargo rustc --locked --release --crate-type cdylib,staticlib
}

# kvmctl and kvm-fake-qemu. As in the Makefile, so that nothing is built twice.
build_tools() {
    cargo build --locked --profile tools --package kvmctl --package fake-qemu
}

# The same library without what takes long to build, for those who change it and look what happens.
build_quick_library() {
    heading "building the library without link-time optimisation"
    cargo rustc --locked --profile ctest --crate-type cdylib
}

# Everything that the shell runs: what ends in .sh, and what says so in its first line.
shell_scripts() {
    local file
    find . -type f -not -path './build/*' -not -path '*/target/*' -not -path './.git/*' -size -256k \
        \( -name '*.sh' -o -perm -100 \) | LC_ALL=C sort | while read -r file; do
        case "$file" in
        *.sh) echo "$file" ;;
        *) ! head -n 1 "$file" | grep -qaE '^#!.*\b(ba|da)?sh$' || echo "$file" ;;
        esac
    done
}
