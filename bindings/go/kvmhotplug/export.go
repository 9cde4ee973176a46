package kvmhotplug

// #include <stdint.h>
import "C"

import (
	"runtime/cgo"
	"unsafe"
)

//export kvmhotplugLogLine
func kvmhotplugLogLine(userdata unsafe.Pointer, level C.int, message *C.char) {
	logLine(cgo.Handle(uintptr(userdata)), level, C.GoString(message))
}

//export kvmhotplugLogFree
func kvmhotplugLogFree(userdata unsafe.Pointer) {
	cgo.Handle(uintptr(userdata)).Delete()
}
