package kvmhotplug

// #include <stdlib.h>
// #include <kvm_hotplug.h>
import "C"

// Backing is where the backing files of an image may be. The caller chooses the image itself by its path; the library does
// not follow the names in an image to files that this rule does not allow, because everybody who can write the image can write
// names into it, a guest that has taken QEMU over included. The library records the files of an image when the disk is added,
// and opens no others for that disk later.
type Backing uint32

const (
	// BackingDefault: for a disk, what its record says; for a record, BackingOwnDirectory.
	BackingDefault Backing = C.KVM_HOTPLUG_BACKING_DEFAULT
	// BackingOwnDirectory: regular files beneath the directory that the image lies in.
	BackingOwnDirectory Backing = C.KVM_HOTPLUG_BACKING_OWN_DIRECTORY
	// BackingForbidden: nowhere; an image that has a backing file is refused.
	BackingForbidden Backing = C.KVM_HOTPLUG_BACKING_FORBIDDEN
	// BackingFiles: exactly the files that are named, from the image down.
	BackingFiles Backing = C.KVM_HOTPLUG_BACKING_FILES
	// BackingDirectories: beneath one of the directories that are named.
	BackingDirectories Backing = C.KVM_HOTPLUG_BACKING_DIRECTORIES
)

var backingNames = map[Backing]string{
	BackingDefault:      "default",
	BackingOwnDirectory: "own-directory",
	BackingForbidden:    "forbidden",
	BackingFiles:        "files",
	BackingDirectories:  "directories",
}

// String is a name such as "own-directory".
func (b Backing) String() string { return nameOf(backingNames, b) }

// MarshalText writes the name.
func (b Backing) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText reads the name.
func (b *Backing) UnmarshalText(text []byte) (err error) {
	*b, err = parseName(backingNames, text, "rule for backing files")
	return err
}

// SetBacking says where the backing files of all disks of the record may be, but for those that have a rule of their own. Paths
// are absolute, at most 64, and only for [BackingFiles] and [BackingDirectories]. It fails with [ErrState] while a guest is open
// with the record.
func (r *Runtime) SetBacking(rule Backing, paths ...string) error {
	var memory arena
	defer memory.free()
	array, count := memory.strings("a path", paths), memory.number("paths", len(paths))
	if memory.err != nil {
		return memory.err
	}
	return r.call(func(handle *C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_runtime_set_backing(handle, C.uint32_t(rule), array, count, failure)
	})
}

// AcceptChain records the files that a disk's image is made of now, in place of those that were recorded before, after its chain
// was changed on purpose or its image was replaced. They have to be where the rule for the disk allows it, which is the one given
// from then on; [BackingDefault] leaves it as it is. While a guest is open with the record, [Guest.AddDisk] with AcceptChain does
// the same.
func (r *Runtime) AcceptChain(id string, rule Backing, paths ...string) error {
	var memory arena
	defer memory.free()
	name, array, count := memory.required("the id", id), memory.strings("a path", paths), memory.number("paths", len(paths))
	if memory.err != nil {
		return memory.err
	}
	return r.call(func(handle *C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_runtime_accept_chain(handle, name, C.uint32_t(rule), array, count, failure)
	})
}
