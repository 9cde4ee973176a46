//go:build !kvmhotplug_source

package kvmhotplug

// #cgo pkg-config: kvm_hotplug
import "C"
