package kvmhotplug

// #include <stdlib.h>
// #include <kvm_hotplug.h>
import "C"

import (
	"encoding/json"
	"math"
	"strings"
	"unsafe"
)

// arena holds the C strings and arrays of one request, and the first thing that was wrong with them.
type arena struct {
	memory []unsafe.Pointer
	erase  [][]byte
	err    error
}

func (a *arena) free() {
	for _, secret := range a.erase {
		clear(secret)
	}
	a.erase = nil
	for _, pointer := range a.memory {
		C.free(pointer)
	}
	a.memory = nil
}

// required makes a C string. A Go string may hold a NUL, with which it would silently become another one.
func (a *arena) required(what, text string) *C.char {
	if strings.IndexByte(text, 0) >= 0 {
		if a.err == nil {
			a.err = invalid("%s has a NUL in it: %q", what, text)
		}
		return nil
	}
	made := C.CString(text)
	a.memory = append(a.memory, unsafe.Pointer(made))
	return made
}

// optional is NULL for an empty string.
func (a *arena) optional(what, text string) *C.char {
	if text == "" {
		return nil
	}
	return a.required(what, text)
}

// object is the JSON text of an object, NULL for an empty one.
func (a *arena) object(what string, members map[string]any) *C.char {
	if len(members) == 0 {
		return nil
	}
	text, err := json.Marshal(members)
	if err != nil && a.err == nil {
		a.err = invalid("%s: %v", what, err)
	}
	return a.required(what, string(text))
}

func (a *arena) array(count int, size uintptr) unsafe.Pointer {
	pointer := C.calloc(C.size_t(count), C.size_t(size))
	a.memory = append(a.memory, pointer)
	return pointer
}

func (a *arena) strings(what string, texts []string) **C.char {
	if len(texts) == 0 {
		return nil
	}
	first := (**C.char)(a.array(len(texts), unsafe.Sizeof((*C.char)(nil))))
	for index, text := range texts {
		unsafe.Slice(first, len(texts))[index] = a.required(what, text)
	}
	return first
}

// bytes is a copy that is written over when it is freed.
func (a *arena) bytes(data []byte) unsafe.Pointer {
	pointer := a.array(max(len(data), 1), 1)
	copied := unsafe.Slice((*byte)(pointer), len(data))
	copy(copied, data)
	a.erase = append(a.erase, copied)
	return pointer
}

func (a *arena) secrets(secrets map[string][]byte) *C.struct_kvm_hotplug_secret {
	if len(secrets) == 0 {
		return nil
	}
	first := (*C.struct_kvm_hotplug_secret)(a.array(len(secrets), C.sizeof_struct_kvm_hotplug_secret))
	array := unsafe.Slice(first, len(secrets))
	for name, data := range secrets {
		array[0] = C.struct_kvm_hotplug_secret{
			name:   a.required("the name of a secret", name),
			data:   a.bytes(data),
			length: C.size_t(len(data)),
		}
		array = array[1:]
	}
	return first
}

func (a *arena) integers(values []int) *C.int32_t {
	if len(values) == 0 {
		return nil
	}
	first := (*C.int32_t)(a.array(len(values), unsafe.Sizeof(C.int32_t(0))))
	for index, value := range values {
		unsafe.Slice(first, len(values))[index] = C.int32_t(value)
	}
	return first
}

// fetchList calls a function of the library that fills an array as far as there is room, with more room until all fits.
func fetchList[C1, G any](room int, convert func(*C1) G, fetch func(first *C1, capacity C.size_t, count *C.size_t) C.int) ([]G, C.int) {
	for {
		var count C.size_t
		array := make([]C1, room)
		code := fetch(&array[0], C.size_t(room), &count)
		if code < 0 {
			return nil, code
		}
		if int(count) <= room {
			list := make([]G, count)
			for index := range list {
				list[index] = convert(&array[index])
			}
			return list, code
		}
		room = int(count) + room
	}
}

// given fills in a number that counts, also when it is 0, only with a flag, and returns that flag.
func (a *arena) given(value *int, what string, into *C.uint32_t, flag C.uint32_t) C.uint32_t {
	if value == nil {
		return 0
	}
	*into = a.number(what, *value)
	return flag
}

func (a *arena) number(what string, value int) C.uint32_t {
	if value < 0 || value > math.MaxUint32 {
		if a.err == nil {
			a.err = invalid("%s: %d is out of range", what, value)
		}
		return 0
	}
	return C.uint32_t(value)
}
