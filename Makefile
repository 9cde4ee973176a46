# Builds, tests and installs the library. Cargo does the building; this file knows where things go.
#
#   make                 the shared and the static library
#   make check           every test (needs root)
#   make header          regenerates include/kvm_hotplug.h after its comments in src/capi were changed
#   make install         with PREFIX, LIBDIR, INCLUDEDIR and DESTDIR as usual
#   make uninstall

PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DESTDIR ?=
CARGO ?= cargo
INSTALL ?= install

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
ABI := $(shell sed -n 's/^pub const KVM_HOTPLUG_ABI_VERSION: u32 = \([0-9]*\);/\1/p' src/capi/version.rs)
BUILT := target/release
FILE := libkvm_hotplug.so.$(VERSION)

all:
	$(CARGO) rustc --locked --release --crate-type staticlib
	$(CARGO) rustc --locked --release --crate-type cdylib

check:
	./tests/run

header:
	KVM_HOTPLUG_HEADER=write $(CARGO) build --locked

install: all
	$(INSTALL) -d $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR)
	$(INSTALL) -m 755 $(BUILT)/libkvm_hotplug.so $(DESTDIR)$(LIBDIR)/$(FILE)
	ln -sf $(FILE) $(DESTDIR)$(LIBDIR)/libkvm_hotplug.so.$(ABI)
	ln -sf libkvm_hotplug.so.$(ABI) $(DESTDIR)$(LIBDIR)/libkvm_hotplug.so
	$(INSTALL) -m 644 $(BUILT)/libkvm_hotplug.a $(DESTDIR)$(LIBDIR)
	$(INSTALL) -m 644 include/kvm_hotplug.h $(DESTDIR)$(INCLUDEDIR)
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
	    -e 's|@VERSION@|$(VERSION)|' kvm_hotplug.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/kvm_hotplug.pc

uninstall:
	rm -f $(DESTDIR)$(LIBDIR)/libkvm_hotplug.so $(DESTDIR)$(LIBDIR)/libkvm_hotplug.so.$(ABI) \
	    $(DESTDIR)$(LIBDIR)/$(FILE) $(DESTDIR)$(LIBDIR)/libkvm_hotplug.a \
	    $(DESTDIR)$(LIBDIR)/pkgconfig/kvm_hotplug.pc $(DESTDIR)$(INCLUDEDIR)/kvm_hotplug.h

clean:
	$(CARGO) clean
	rm -rf build

.PHONY: all check header install uninstall clean
