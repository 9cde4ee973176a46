# shellcheck shell=bash
# How the tests of the Python package are run. To be sourced after common.sh and own_root.sh.

wanted_python() {
    sed -n 's/^requires-python = ">=\(.*\)"/\1/p' "$REPO_ROOT/bindings/python/pyproject.toml"
}

# Sets PYTHON.
use_python() {
    PYTHON="${KVM_HOTPLUG_PYTHON:-python3}"
    need_command "$PYTHON" python3
    "$PYTHON" -c "import sys; sys.exit(sys.version_info < ($(wanted_python | tr . ,)))" ||
        die "$PYTHON is older than Python $(wanted_python): name another one in KVM_HOTPLUG_PYTHON"
}

# Says which has what builds packages: the one that the tests use, or else the system's.
python_with_wheel() {
    local python has='
import setuptools, wheel, sys
from importlib.util import find_spec
sys.exit(find_spec("pip") is None or int(setuptools.__version__.split(".")[0]) < 61)'
    for python in "$PYTHON" /usr/bin/python3; do
        if "$python" -c "$has" 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    return 1
}

# The library and the fake QEMU that the package loads and starts.
use_library() {
    local libdir="${KVM_HOTPLUG_LIBDIR:-$REPO_ROOT/target/release}"
    [ -e "$libdir/libkvm_hotplug.so" ] || die "$libdir/libkvm_hotplug.so is missing: run 'cargo build --release'"
    (cd "$REPO_ROOT" && CARGO_TERM_QUIET=true build_tools)
    export KVM_HOTPLUG_LIBRARY="$libdir/libkvm_hotplug.so" KVM_FAKE_QEMU="$REPO_ROOT/target/tools/kvm-fake-qemu"
    export PYTHONPATH="$REPO_ROOT/bindings/python" PYTHONDONTWRITEBYTECODE=1
}

# In a chroot the root is no mount point, and unshare by itself refuses to begin there.
KEEP_MOUNTS_HERE='mount --make-rprivate / 2>/dev/null || mount --make-rprivate /sys 2>/dev/null || true'

# Where root is somebody else's, a user namespace; else only one for the network.
in_own_network() {
    if [ "$(id -u)" = 0 ]; then
        unshare --net --mount --propagation unchanged sh -c "$KEEP_MOUNTS_HERE; $IN_OWN_NETWORK" sh "$@"
    elif [ -z "$(why_no_own_root)" ]; then
        own_root "$@"
    else
        "$@"
    fi
}

# run_python_tests [UNITTEST-ARGUMENT...]: warnings are errors, such as about a file that is not closed.
run_python_tests() {
    (cd "$REPO_ROOT/bindings/python" &&
        in_own_network "$PYTHON" -W error -m unittest discover --top-level-directory . --start-directory tests "$@")
}
