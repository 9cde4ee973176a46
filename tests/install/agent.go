// Uses a little of the package, and prints the library's version: the program of a user who has it installed.
package main

import (
	"fmt"
	"os"

	"example.org/kvm-hotplug/bindings/go/kvmhotplug"
)

func version() (string, error) {
	record, err := kvmhotplug.New(kvmhotplug.Config{Name: "web1"})
	if err != nil {
		return "", err
	}
	return kvmhotplug.Version(), record.Close()
}

func main() {
	said, err := version()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(said)
}
