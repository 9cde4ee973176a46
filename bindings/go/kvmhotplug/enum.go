//go:build cgo

package kvmhotplug

import (
	"fmt"
	"slices"
	"strings"
)

// enum is what the enumerations have in common: numbers of the C ABI with names. Newer libraries may know more values
// than this package.
type enum interface{ ~uint32 }

func nameOf[E enum](names map[E]string, value E) string {
	if name, ok := names[value]; ok {
		return name
	}
	return fmt.Sprintf("unknown-%d", value)
}

func parseName[E enum](names map[E]string, text []byte, what string) (E, error) {
	known := make([]string, 0, len(names))
	for value, name := range names {
		if name == string(text) {
			return value, nil
		}
		known = append(known, name)
	}
	slices.Sort(known)
	return 0, invalid("%q is no %s: one of %s", text, what, strings.Join(known, ", "))
}
