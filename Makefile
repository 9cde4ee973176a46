# Builds, tests and installs the library and kvmctl. Cargo does the building; this file knows where things go.
#
#   make                 the shared and the static library, kvmctl, kvm-fake-qemu, the man pages
#   make check           every test (needs root)
#   make header          regenerates include/kvm_hotplug.h after its comments in src/capi were changed
#   make doc             the API reference as HTML, in build/doc/html (needs Doxygen)
#   make install         with DESTDIR, PREFIX, and each of the directories below, as usual; root without DESTDIR has ldconfig run
#   make cinstall        the library alone, by cargo-c 0.10.10 or newer, with the same directories
#   make uninstall       with the same ones; leaves nothing
#   make hooks           git runs the quick checks before each commit
#   make deb             Debian packages of library, development files and tool (needs cargo-deb); for arm64:
#                        make deb TARGET=aarch64-unknown-linux-gnu CC=aarch64-linux-gnu-gcc RUN='qemu-aarch64 -L /usr/aarch64-linux-gnu'

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
PKGCONFIGDIR ?= $(LIBDIR)/pkgconfig
CMAKEDIR ?= $(LIBDIR)/cmake/kvm_hotplug
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
FISHDIR ?= $(PREFIX)/share/fish/vendor_completions.d
DESTDIR ?=
CARGO ?= cargo
CC ?= cc
INSTALL ?= install

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
ABI := $(shell sed -n 's/^pub const KVM_HOTPLUG_ABI_VERSION: u32 = \([0-9]*\);/\1/p' src/capi/version.rs)
# For another machine: TARGET is Rust's name of it, CC its C compiler, RUN what runs its programs here.
TARGET ?=
RUN ?=
CROSS := $(if $(TARGET),--target $(TARGET))
BUILT := target/$(if $(TARGET),$(TARGET)/)release
OUT := build$(if $(TARGET),/$(TARGET))
FILE := libkvm_hotplug.so.$(VERSION)
# What the static library needs besides the C library (rustc --print native-static-libs). The compiler brings the unwinder,
# static or not as the program is.
STATIC_LIBS := -lutil -lrt -lpthread -lm -ldl
MANUAL := $(CARGO) run --quiet --locked --package manual --
TOOLS := target/$(if $(TARGET),$(TARGET)/)tools

# Everything that install puts somewhere, and uninstall takes away.
LIBRARIES := $(FILE) libkvm_hotplug.so.$(ABI) libkvm_hotplug.so libkvm_hotplug.a
COMPLETIONS := $(BASHDIR)/kvmctl $(ZSHDIR)/_kvmctl $(FISHDIR)/kvmctl.fish
CMAKEFILES := kvm_hotplugConfig.cmake kvm_hotplugConfigVersion.cmake

all: library $(OUT)/kvmctl $(OUT)/kvm-fake-qemu man

# Always asked: cargo knows what has changed. Programs look for the library under its SONAME.
library:
	$(CARGO) rustc --locked --release $(CROSS) --crate-type cdylib,staticlib
	ln -sf libkvm_hotplug.so $(BUILT)/libkvm_hotplug.so.$(ABI)

# With the library inside, so that it runs from wherever it is put. Always asked, as the library is.
$(OUT)/kvmctl: tools
	@mkdir -p $(OUT)
	cmp -s $(TOOLS)/kvmctl $@ || cp $(TOOLS)/kvmctl $@

# Needs no library: it is what one talks to.
$(OUT)/kvm-fake-qemu: tools
	@mkdir -p $(OUT)
	cmp -s $(TOOLS)/kvm-fake-qemu $@ || cp $(TOOLS)/kvm-fake-qemu $@

tools:
	$(CARGO) build --locked --profile tools $(CROSS) --package kvmctl --package fake-qemu

man: $(OUT)/kvmctl $(OUT)/kvm-fake-qemu
	$(MANUAL) man include/kvm_hotplug.h $(OUT)/man
	$(RUN) $(OUT)/kvmctl help --man > $(OUT)/man/kvmctl.1
	$(RUN) $(OUT)/kvm-fake-qemu --man > $(OUT)/man/kvm-fake-qemu.1

check:
	./tests/run

header:
	KVM_HOTPLUG_HEADER=write $(CARGO) build --locked

doc:
	@mkdir -p build/doc
	$(CARGO) build --quiet --locked --package manual
	VERSION=$(VERSION) MANUAL=target/debug/manual OUTPUT=build/doc doxygen tools/manual/Doxyfile

# For what is linked against a library in a directory where programs do not look for one. Where a package will be installed,
# this machine does not know.
RPATH = $(if $(DESTDIR),,$(shell packaging/loader searches '$(LIBDIR)' || echo ' -Wl,-rpath,$${libdir}'))

# The templates of packaging/, filled in. Paths in CMake's files are relative, so that the tree may be moved.
fill = sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
    -e 's|@VERSION@|$(VERSION)|' -e 's|@ABI@|$(ABI)|' -e 's|@STATIC_LIBS@|$(STATIC_LIBS)|' -e 's|@RPATH@|$(RPATH)|' \
    -e 's|@POINTER_SIZE@|$(shell expr $$(getconf LONG_BIT) / 8)|' \
    -e 's|@TO_LIBDIR@|$(shell realpath -ms --relative-to='$(CMAKEDIR)' '$(LIBDIR)')|' \
    -e 's|@TO_INCLUDEDIR@|$(shell realpath -ms --relative-to='$(CMAKEDIR)' '$(INCLUDEDIR)')|' $(1) > $(2)

# What has been built is enough where there is no cargo, as often under sudo.
install: $(if $(shell command -v $(CARGO)),all)
	$(INSTALL) -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBDIR) $(DESTDIR)$(INCLUDEDIR) $(DESTDIR)$(PKGCONFIGDIR) \
	    $(DESTDIR)$(CMAKEDIR) $(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(MANDIR)/man3 $(DESTDIR)$(MANDIR)/man7 \
	    $(addprefix $(DESTDIR),$(BASHDIR) $(ZSHDIR) $(FISHDIR))
	$(INSTALL) -m 755 $(OUT)/kvmctl $(OUT)/kvm-fake-qemu $(DESTDIR)$(BINDIR)
	$(INSTALL) -m 644 $(BUILT)/libkvm_hotplug.so $(DESTDIR)$(LIBDIR)/$(FILE)
	ln -sf $(FILE) $(DESTDIR)$(LIBDIR)/libkvm_hotplug.so.$(ABI)
	ln -sf libkvm_hotplug.so.$(ABI) $(DESTDIR)$(LIBDIR)/libkvm_hotplug.so
	$(INSTALL) -m 644 $(BUILT)/libkvm_hotplug.a $(DESTDIR)$(LIBDIR)
	$(INSTALL) -m 644 include/kvm_hotplug.h $(DESTDIR)$(INCLUDEDIR)
	$(call fill,packaging/kvm_hotplug.pc.in,$(DESTDIR)$(PKGCONFIGDIR)/kvm_hotplug.pc)
	$(foreach file,$(CMAKEFILES),$(call fill,packaging/$(file).in,$(DESTDIR)$(CMAKEDIR)/$(file)) &&) true
	for section in 1 3 7; do \
	    $(INSTALL) -m 644 $(OUT)/man/*.$$section $(DESTDIR)$(MANDIR)/man$$section || exit 1; \
	done
	$(RUN) $(OUT)/kvmctl completion bash > $(DESTDIR)$(BASHDIR)/kvmctl
	$(RUN) $(OUT)/kvmctl completion zsh > $(DESTDIR)$(ZSHDIR)/_kvmctl
	$(RUN) $(OUT)/kvmctl completion fish > $(DESTDIR)$(FISHDIR)/kvmctl.fish
	$(if $(DESTDIR),,packaging/loader update '$(LIBDIR)')

# The man pages that are installed are those of this header, whether it has been built here or not.
uninstall:
	rm -f $(addprefix $(DESTDIR)$(BINDIR)/,kvmctl kvm-fake-qemu) $(addprefix $(DESTDIR)$(LIBDIR)/,$(LIBRARIES)) \
	    $(DESTDIR)$(INCLUDEDIR)/kvm_hotplug.h $(DESTDIR)$(PKGCONFIGDIR)/kvm_hotplug.pc \
	    $(addprefix $(DESTDIR)$(CMAKEDIR)/,$(CMAKEFILES)) $(addprefix $(DESTDIR)$(MANDIR)/man1/,kvmctl.1 kvm-fake-qemu.1) \
	    $(DESTDIR)$(MANDIR)/man7/kvm_hotplug.7 $(addprefix $(DESTDIR),$(COMPLETIONS))
	grep -lsF 'Made from kvm_hotplug.h by tools/manual' $(DESTDIR)$(MANDIR)/man3/kvm_*.3 | xargs -r rm -f
	! [ -d $(DESTDIR)$(CMAKEDIR) ] || rmdir --ignore-fail-on-non-empty $(DESTDIR)$(CMAKEDIR)
	$(if $(DESTDIR),,! packaging/loader searches '$(LIBDIR)' || packaging/loader update '$(LIBDIR)')

# rustc names libgcc_s among what a static program needs, which is there as a shared library only: the compiler brings another one.
cinstall:
	$(CARGO) cinstall --locked --release --destdir='$(DESTDIR)' --prefix='$(PREFIX)' --libdir='$(LIBDIR)' \
	    --includedir='$(INCLUDEDIR)' --pkgconfigdir='$(PKGCONFIGDIR)'
	sed -i -e '/^Libs.private:/s/ -lgcc_s\b//g' '$(DESTDIR)$(PKGCONFIGDIR)/kvm_hotplug.pc'
	$(if $(DESTDIR),,packaging/loader update '$(LIBDIR)')

# Where Debian has libraries of several architectures side by side.
deb: all
	rm -rf build/deb
	$(MAKE) install DESTDIR=build/deb PREFIX=/usr LIBDIR=/usr/lib/$$($(CC) -print-multiarch)
	for variant in "" "--variant dev" "--variant kvmctl"; do \
	    $(CARGO) deb --no-build $(CROSS) $$variant --output build/ || exit 1; \
	done

# Another hook that is there already is left alone.
HOOK = $(shell git rev-parse --git-path hooks)/pre-commit
HOOK_TEXT = exec tests/bin/pre-commit

hooks:
	@! [ -e '$(HOOK)' ] || grep -qx '$(HOOK_TEXT)' '$(HOOK)' || { echo "$(HOOK) is somebody else's: call tests/bin/pre-commit from it"; exit 1; }
	@mkdir -p '$(dir $(HOOK))'
	printf '#!/bin/sh\n%s\n' '$(HOOK_TEXT)' > '$(HOOK)'
	chmod 755 '$(HOOK)'

clean:
	$(CARGO) clean
	rm -rf build

.PHONY: all library tools man check header doc install uninstall cinstall hooks deb clean
