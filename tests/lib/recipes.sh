# shellcheck shell=bash
# What docs/install.md says about linking runs as it is said there, and README's examples do what they should.
# For tests/bin/install, which has put what is installed into PREFIX; to be sourced after common.sh and go.sh.

# runs_alone PROGRAM [ARGUMENT...]: finds the library without being told where it is.
runs_alone() {
    local said
    said="$(env -u LD_LIBRARY_PATH "$@" 2>&1)" || die "$1 does not run by itself: $said"
    [[ "$said" == *"$VERSION"* ]] || die "$1 says '$said', not $VERSION"
}

# The recipes for a prefix in which nobody looks for libraries: C, and the programs and tests of Go.
run_alone_from_prefix() {
    local flags
    read -ra flags <<<"$(pkg-config --cflags --libs kvm_hotplug)"
    quietly "${CC:-cc}" -o "$WORK/alone" "$USER_CODE/agent.c" "${flags[@]}"
    runs_alone "$WORK/alone"
    use_module "$WORK/module"
    (cd "$WORK/module" && runs_alone go run . && runs_alone go test -v .)
    # Whoever does not use these flags is told what to do.
    check grep -q -- "-Wl,-rpath,$LIB" "$WORK/installing"
    check grep -q "/etc/ld.so.conf.d" "$WORK/installing"
}

# A user's module, with the package from the source tree.
use_module() {
    find_go || die "no Go $(wanted_go) or newer here: run tests/bin/setup"
    rm -rf "$1"
    mkdir "$1"
    cp "$USER_CODE"/agent.go "$USER_CODE"/agent_test.go "$1"
    printf 'module example.org/uses\n\ngo 1.22\n' >"$1/go.mod"
    (cd "$1" && quietly go mod edit -require example.org/kvm-hotplug/bindings/go@v0.0.0 \
        -replace "example.org/kvm-hotplug/bindings/go=$REPO_ROOT/bindings/go")
}

# From the source tree, nothing installed.
run_alone_from_the_source_tree() {
    local module="$WORK/module"
    quietly "${CC:-cc}" -o "$WORK/from-source" "$USER_CODE/agent.c" -Iinclude -Ltarget/release "-Wl,-rpath,$PWD/target/release" -lkvm_hotplug
    runs_alone "$WORK/from-source"
    use_module "$module"
    (cd "$module" && unset PKG_CONFIG_PATH && runs_alone go run -tags kvmhotplug_source . &&
        runs_alone go test -tags kvmhotplug_source -v .)
}

# The default prefix: the loader's cache knows the library as soon as it is installed, and no longer when it
# is not. On a /usr/local and an /etc of its own, and with what has been built already.
in_default_prefix() {
    unshare -m --propagation unchanged "${BASH:-bash}" -euo pipefail \
        -c "$(declare -f quietly check say die keep_mounts_here runs_alone default_prefix)"'; default_prefix' \
        install || die "the default prefix is not as docs/install.md says"
}

# What is mounted in a namespace of its own stays there. In a chroot the root is no mount point: unshare by
# itself refuses to begin there, and there is nothing to be said of it.
keep_mounts_here() {
    mount --make-rprivate / 2>/dev/null || ! mountpoint -q /
}

default_prefix() {
    keep_mounts_here
    mkdir "$WORK/etc" "$WORK/local"
    cp -a /etc/. "$WORK/etc"
    mount --bind "$WORK/etc" /etc
    mount --bind "$WORK/local" /usr/local
    mkdir /usr/local/lib
    unset PKG_CONFIG_PATH LD_LIBRARY_PATH
    ldconfig
    quietly make install CARGO=none
    # shellcheck disable=SC2046
    quietly cc -o "$WORK/default" "$USER_CODE/agent.c" $(pkg-config --cflags --libs kvm_hotplug)
    runs_alone "$WORK/default"
    check [ -z "$(readelf -d "$WORK/default" | grep -E "RPATH|RUNPATH")" ]
    check grep -q libkvm_hotplug <(ldconfig -p)
    quietly make uninstall
    ! ldconfig -p | grep libkvm_hotplug || die "the loader goes on to know the library"
    # Others than root, and those who stage, leave the cache alone.
    cp /etc/ld.so.cache "$WORK/cache"
    quietly make install CARGO=none DESTDIR="$WORK/staged-default"
    check cmp -s /etc/ld.so.cache "$WORK/cache"
    # In a directory that nobody has told the loader of.
    : >/etc/ld.so.conf
    ldconfig
    quietly make install CARGO=none
    check grep -q "/etc/ld.so.conf.d" "$WORK/log"
    # shellcheck disable=SC2046
    quietly cc -o "$WORK/default" "$USER_CODE/agent.c" $(pkg-config --cflags --libs kvm_hotplug)
    runs_alone "$WORK/default"
    umount /usr/local /etc
}

# The README's first examples, in C and Go, are programs that say what went wrong, whatever it is: in a
# namespace with a /run of its own, with the monitor that has no guest.
run_readme_examples() {
    find_go || die "no Go $(wanted_go) or newer here: run tests/bin/setup"
    local directory="$WORK/readme" flags
    use_module "$directory"
    rm "$directory"/*.go
    sed -n '/^```c$/,/^```$/{/^```/!p}' README.md >"$WORK/readme.c"
    read -ra flags <<<"$(pkg-config --cflags --libs kvm_hotplug)"
    quietly "${CC:-cc}" -Wall -Wextra -Werror -o "$WORK/readme-c" "$WORK/readme.c" "${flags[@]}"
    {
        printf 'package main\n\nimport ("context"; "errors"; "fmt"; "os"; "example.org/kvm-hotplug/bindings/go/kvmhotplug")\n\n'
        printf 'func plug(ctx context.Context) error {\n'
        sed -n '0,/^```go$/d; /^```$/q; p' README.md
        printf 'fmt.Println(added.State, gone.State)\nreturn nil\n}\n\n'
        printf 'func main() {\nif err := plug(context.Background()); err != nil {\nfmt.Fprintln(os.Stderr, err)\nos.Exit(1)\n}\n}\n'
    } >"$directory/main.go"
    (cd "$directory" && quietly go build -o "$WORK/readme-go" .)
    export PREFIX
    unshare -mn --propagation unchanged "${BASH:-bash}" -euo pipefail \
        -c "$(declare -f quietly check say die keep_mounts_here readme_examples readme_fails)"'; readme_examples' \
        install || die "README's examples do not do what they should"
}

# readme_fails PROGRAM WHAT: says what is missing.
readme_fails() {
    ! "$1" >"$WORK/said" 2>&1 || die "$1 does not fail without $2"
    grep -q "$2" "$WORK/said" || die "without $2, $1 says $(cat "$WORK/said")"
}

readme_examples() {
    local program record=/run/agent/web1.runtime
    keep_mounts_here
    mount -t tmpfs none /run
    mkdir /run/agent
    truncate -s 1M /run/agent/data.img
    mkfifo /run/agent/orders
    # quietly calls it.
    # shellcheck disable=SC2317
    tool() { "$PREFIX/bin/kvmctl" --runtime "$record" --socket /run/agent/web1.qmp "$@"; }
    for program in "$WORK/readme-c" "$WORK/readme-go"; do
        readme_fails "$program" web1.runtime
        quietly "$PREFIX/bin/kvmctl" --runtime "$record" init
        readme_fails "$program" web1.qmp
        "$PREFIX/bin/kvm-fake-qemu" /run/agent/web1.qmp </run/agent/orders >"$WORK/fake-log" &
        exec 7>/run/agent/orders
        until grep -q ready "$WORK/fake-log"; do sleep 0.05; done
        readme_fails "$program" br0
        ip link add br0 type bridge
        quietly tool add-disk --bus pci.0 --slot 6 --path /run/agent/data.img
        quietly "$program"
        check grep -q 'done device_add nic-' "$WORK/fake-log"
        check grep -q 'done device_del disk-pci-6' "$WORK/fake-log"
        # The second call fails.
        quietly tool del nic-pci-4
        printf 'error device_del not now\n' >&7
        until grep -q ok "$WORK/fake-log"; do sleep 0.05; done
        quietly tool add-disk --bus pci.0 --slot 6 --path /run/agent/data.img
        readme_fails "$program" "not now"
        exec 7>&-
        wait
        ip link del br0
        rm -f /run/agent/web1.*
    done
}

# cargo-c asks rustc for the libraries that a static program needs, and gets one that is shared only.
use_cargo_c() {
    local flags prefix="$WORK/cargo-c" cargo="${CARGO:-cargo}"
    if ! cargo cinstall --version >/dev/null 2>&1; then
        not_run "install, cargo-c itself" "cargo-c is not here (cargo install cargo-c)"
        cargo="$WORK/cargo-stub"
        {
            printf '#!/bin/bash\nset -eu\n[ "$1" = cinstall ]\nmkdir -p %s/lib/pkgconfig %s/include\n' "$prefix" "$prefix"
            printf 'cp target/release/libkvm_hotplug.a %s/lib; cp include/kvm_hotplug.h %s/include\n' "$prefix" "$prefix"
            printf 'cat >%s/lib/pkgconfig/kvm_hotplug.pc <<"."\nprefix=%s\nlibdir=${prefix}/lib\nincludedir=${prefix}/include\n' "$prefix" "$prefix"
            printf 'Name: kvm_hotplug\nDescription: D\nVersion: %s\nLibs: -L${libdir} -lkvm_hotplug\nCflags: -I${includedir}\n' "$VERSION"
            printf 'Libs.private: -lgcc_s -lutil -lrt -lpthread -lm -ldl -lc\n.\n'
        } >"$cargo"
        chmod 755 "$cargo"
    fi
    quietly make cinstall CARGO="$cargo" PREFIX="$prefix"
    read -ra flags <<<"$(PKG_CONFIG_PATH="$prefix/lib/pkgconfig" pkg-config --static --cflags --libs kvm_hotplug)"
    quietly "${CC:-cc}" -static -o "$WORK/cargo-c-static" "$USER_CODE/agent.c" "${flags[@]}"
    runs_alone "$WORK/cargo-c-static"
}
