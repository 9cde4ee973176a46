"""Every function, value and field of the header is bound."""

from __future__ import annotations

import ctypes
import enum
import re
import subprocess
from typing import Dict, Iterator, List, Tuple

import kvm_hotplug
from kvm_hotplug import _abi, _library

from .support import HEADER, PACKAGE, TestCase

# Functions that the package does not call, each with the reason.
UNBOUND = {
    "kvm_hotplug_open": "kvm_hotplug_open_with() does the same and more",
    "kvm_hotplug_next_event": "kvm_hotplug_next_event_json() says more",
    "kvm_hotplug_enum_name": "Enumeration.text says the same",
    "kvm_runtime_load": "kvm_runtime_open() does the same and more",
    "kvm_runtime_load_readonly": "kvm_runtime_open() does the same and more",
}
# Fields that nothing uses, each with the reason.
UNUSED = {
    "reserved": "always 0",
}
# Structs that nothing uses, each with the reason.
UNUSED_STRUCTS = {
    "kvm_hotplug_event": "events come as JSON",
}
# Enumerations that are not the package's own words.
INTERNAL = {
    "LogLevel": "levels are those of logging",
}

COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


def header() -> str:
    return COMMENT.sub("", HEADER.read_text())


def source() -> str:
    """What is written by hand."""
    return "\n".join(file.read_text() for file in sorted(PACKAGE.glob("*.py")) if file.name != "_abi.py")


def enums() -> Iterator[Tuple[str, List[Tuple[str, int]]]]:
    for name, body in re.findall(r"\nenum (\w+) \{(.*?)\n\};", header(), re.DOTALL):
        yield name, [(value, int(number)) for value, number in re.findall(r"(KVM_\w+) = (\d+)", body)]


def structs() -> Dict[str, List[str]]:
    bodies = re.findall(r"\nstruct (\w+) \{(.*?)\n\};", header(), re.DOTALL)
    return {name: re.findall(r"(\w+)(?:\[\d+\])?;", body) for name, body in bodies}


class Header(TestCase):
    def test_every_function_is_bound(self) -> None:
        functions = re.findall(r"^[a-z][a-z0-9_ *]*\b(kvm_[a-z0-9_]+)\(", header(), re.MULTILINE)
        self.assertGreater(len(functions), 60)
        self.assertEqual(set(_abi.PROTOTYPES), set(functions))
        called = set(re.findall(r"\b(?:library\(\)|library|loaded)\.(kvm_\w+)", source()))
        for function in functions:
            self.assertNotEqual(function in called, function in UNBOUND, function)

    def test_every_value_is_bound(self) -> None:
        classes = {
            one.__name__: one
            for one in vars(_abi).values()
            if isinstance(one, type) and issubclass(one, enum.IntEnum)
        }
        classes.pop("Enumeration")
        values = dict(enums())
        self.assertEqual(len(values), len(classes))
        numbers = {value: number for members in values.values() for value, number in members}
        for name, one in classes.items():
            self.assertTrue(name in INTERNAL or getattr(kvm_hotplug, name) is one, name)
            for member in one:
                ends = [
                    value
                    for value, number in numbers.items()
                    if value.endswith("_" + member.name) and number == member
                ]
                self.assertTrue(ends, f"{name}.{member.name} is not in the header")
        self.assertEqual(sum(len(one) for one in classes.values()), len(numbers))

    def test_every_value_has_the_word_of_the_library(self) -> None:
        name = _library.library().kvm_hotplug_enum_name
        classes = [one for one in vars(_abi).values() if isinstance(one, type) and issubclass(one, enum.IntEnum)]
        own = [{member.value: member.text for member in one} for one in classes]
        for c, values in enums():
            words = {number: name(c.encode(), number).decode() for _, number in values}
            self.assertIn(words, own, c)
            self.assertIsNone(name(c.encode(), 9999))
        self.assertIsNone(name(b"none", 0))

    def test_every_constant_is_bound(self) -> None:
        for name, value in re.findall(r"^#define (KVM_\w+) (\d+|\(1 << \d+\))$", header(), re.MULTILINE):
            if name.startswith("KVM_HOTPLUG_VERSION_"):
                continue
            short = re.sub(r"^KVM_(HOTPLUG_)?", "", name)
            if value.startswith("("):
                self.assertEqual(_abi.Flag[short], eval(value), name)
            else:
                self.assertEqual(getattr(_abi, short), int(value), name)

    def test_every_flag_is_used(self) -> None:
        words = set(re.findall(r"\b([a-z_]+)=", source()))
        for flag in _abi.Flag:
            self.assertIn((flag.name or "").lower(), words)

    def test_every_field_is_used(self) -> None:
        found = structs()
        self.assertEqual({struct.__name__ for struct in _abi.SIZES}, set(found))
        words = set(re.findall(r"\.(\w+)\b|\b(\w+)(?::|=)", source()))
        used = {word for pair in words for word in pair}
        for name, fields in found.items():
            if name in UNUSED_STRUCTS:
                continue
            for field in fields:
                self.assertNotEqual(field in used, field in UNUSED, f"struct {name}: {field}")

    def test_structs_are_laid_out_as_by_the_compiler(self) -> None:
        lines = ["#include <stdio.h>", "#include <stddef.h>", f'#include "{HEADER}"', "int main(void)", "{"]
        wanted = []
        for struct in _abi.SIZES:
            name = struct.__name__
            lines.append(f'    printf("%zu\\n", sizeof(struct {name}));')
            wanted.append((name, ctypes.sizeof(struct)))
            for field, kind in struct._fields_:
                member = f"((struct {name} *)0)->{field}"
                lines.append(
                    f'    printf("%zu\\n", offsetof(struct {name}, {field}) << 16 | sizeof {member});'
                )
                wanted.append((f"{name}.{field}", getattr(struct, field).offset << 16 | ctypes.sizeof(kind)))
        lines += ["    return 0;", "}"]
        program, text = self.path("sizes"), self.path("sizes.c")
        with open(text, "w") as file:
            file.write("\n".join(lines) + "\n")
        subprocess.run(["cc", "-o", program, text], check=True)
        said = subprocess.run([program], check=True, capture_output=True, text=True).stdout.split()
        self.assertEqual([(name, int(number)) for (name, _), number in zip(wanted, said)], wanted)
        self.assertEqual(len(said), len(wanted))

    def test_everything_public_is_listed_and_documented(self) -> None:
        for name in kvm_hotplug.__all__:
            self.assertTrue(hasattr(kvm_hotplug, name), name)
        for name in kvm_hotplug.__all__:
            one = getattr(kvm_hotplug, name)
            if callable(one):
                self.assertTrue(one.__doc__, name)
        for one in (kvm_hotplug.Guest, kvm_hotplug.Runtime, kvm_hotplug.Boot, kvm_hotplug.Tap):
            for name in dir(one):
                if not name.startswith("_") and callable(getattr(one, name)) and name not in ("closed",):
                    self.assertTrue(getattr(one, name).__doc__, f"{one.__name__}.{name}")
                    hints = getattr(getattr(one, name), "__annotations__", {})
                    self.assertIn("return", hints, f"{one.__name__}.{name}")
