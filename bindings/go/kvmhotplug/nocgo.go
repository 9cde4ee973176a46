//go:build !cgo

package kvmhotplug

// The library is reached by cgo. Without it, what the compiler says of this line is what there is to do.
var _ = kvmhotplug_needs_cgo__set_CGO_ENABLED_1_and_install_a_C_compiler
