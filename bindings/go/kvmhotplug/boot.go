package kvmhotplug

// #include <stdlib.h>
// #include <kvm_hotplug.h>
import "C"

import (
	"os"
	"os/exec"
	"unsafe"
)

// BootOptions is how a guest is to be started. The zero value is a boot.
type BootOptions struct {
	// Incoming is what QEMU waits for; with anything but IncomingNone the command is that of a migration target.
	Incoming Incoming `json:"incoming,omitempty"`
	// IncomingAddress is where the migration comes in, with IncomingTCP and IncomingUnix.
	IncomingAddress string `json:"incoming_address,omitempty"`
	// IncomingFile is what it comes in by, with IncomingFD; it is duplicated.
	IncomingFile *os.File `json:"-"`
	// QEMUMajor and QEMUMinor are the version that the command is for; 0 and 0 for options that every version reads.
	QEMUMajor int `json:"qemu_major,omitempty"`
	QEMUMinor int `json:"qemu_minor,omitempty"`
	// FDBase is the number in QEMU of the first of [Boot].Files; 0 means 3, where exec.Cmd.ExtraFiles begins.
	FDBase int `json:"fd_base,omitempty"`
	// SparePorts, on machine q35, is for how many more devices the running guest shall have root ports.
	SparePorts int `json:"spare_ports,omitempty"`
	// Paused gives QEMU -S: the guest does not run until the monitor command "cont".
	Paused bool `json:"paused,omitempty"`
	// Plan makes the command only to be looked at: nothing is written, no tap is made, and it has no Files. It does not matter
	// whether the guest runs.
	Plan bool `json:"plan,omitempty"`
	// Monitor is the socket at which the guest would answer if it ran, besides those in the recorded command; empty for
	// none.
	Monitor string `json:"monitor,omitempty"`
	// SetMonitor has QEMU listen at Monitor this time, instead of where the recorded command says, if anywhere; so a
	// migration target can be started on the host of its source.
	SetMonitor bool `json:"set_monitor,omitempty"`
}

// Boot is a command that starts a guest, and what it inherits.
type Boot struct {
	// Args is the command line, the program first.
	Args []string
	// Files are to be open in QEMU under the numbers FDBase and on. They are the caller's; Close closes them.
	Files []*os.File
}

// Boot makes the command that starts the guest of the record: its own command line, and every NIC and disk with exactly
// the ids, addresses and properties that the hot-plug calls give them, images opened and taps made as by those. The
// guest must not be running, and no guest may be open with the record: one that answers at a socket of its command, or whose
// images are in use, is refused with EBUSY. Changes that waited for a reboot are made, and the
// runtime file says so. For a migration target, the record is one of the source's runtime file, and nothing is changed.
func (r *Runtime) Boot(options BootOptions) (*Boot, error) {
	var memory arena
	defer memory.free()
	request := C.struct_kvm_boot_options{
		incoming_address: memory.optional("IncomingAddress", options.IncomingAddress),
		incoming:         C.uint32_t(options.Incoming),
		qemu_major:       memory.number("QEMUMajor", options.QEMUMajor),
		qemu_minor:       memory.number("QEMUMinor", options.QEMUMinor),
		fd_base:          memory.number("FDBase", options.FDBase),
		spare_ports:      memory.number("SparePorts", options.SparePorts),
		qmp_path:         memory.optional("Monitor", options.Monitor),
	}
	if options.IncomingFile != nil {
		descriptors, release := duplicate(&memory, "IncomingFile", options.IncomingFile)
		defer release()
		if memory.err == nil {
			request.incoming_fd = C.int32_t(descriptors[0])
		}
	}
	if options.Paused {
		request.flags |= C.KVM_BOOT_PAUSED
	}
	if options.Plan {
		request.flags |= C.KVM_BOOT_DRY_RUN
	}
	if options.SetMonitor {
		request.flags |= C.KVM_BOOT_SET_MONITOR
	}
	if memory.err != nil {
		return nil, memory.err
	}
	var handle *C.struct_kvm_boot
	err := r.call(func(from *C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_runtime_boot(from, &request, C.sizeof_struct_kvm_boot_options, &handle, failure)
	})
	if err != nil {
		return nil, err
	}
	defer C.kvm_boot_free(handle)
	return bootOf(handle)
}

// bootOf copies what the library's command has, so that it can be freed.
func bootOf(handle *C.struct_kvm_boot) (*Boot, error) {
	var count C.size_t
	boot := &Boot{}
	arguments := C.kvm_boot_argv(handle, &count)
	for _, argument := range unsafe.Slice(arguments, count) {
		boot.Args = append(boot.Args, C.GoString(argument))
	}
	descriptors := C.kvm_boot_fds(handle, &count)
	for _, descriptor := range unsafe.Slice(descriptors, count) {
		made, err := duplicateDescriptor(uintptr(descriptor))
		if err != nil {
			boot.Close()
			return nil, hostError("duplicating what QEMU inherits", err)
		}
		boot.Files = append(boot.Files, os.NewFile(uintptr(made), "kvm-boot"))
	}
	return boot, nil
}

// Command is ready to be started, if FDBase was left alone. [Boot.Close] is to be called as soon as it has been: a tap
// lives as long as anybody has it open.
func (b *Boot) Command() *exec.Cmd {
	command := exec.Command(b.Args[0], b.Args[1:]...)
	command.ExtraFiles = b.Files
	return command
}

// Close closes the files, which a QEMU that was started goes on to have. Closing again does nothing. The error is always
// nil; it is there for io.Closer.
func (b *Boot) Close() error {
	for _, file := range b.Files {
		file.Close()
	}
	b.Files = nil
	return nil
}

// BootPlan is how full the next boot will be.
type BootPlan struct {
	Machine Machine `json:"machine"`
	// Devices are the NICs and disks it starts with.
	Devices int `json:"devices"`
	// Room is for how many devices the running guest then has free slots of pci.0 or free root ports.
	Free int `json:"free"`
	// Ports are the root ports that the command makes; NewPorts, how many of those the last boot did not have.
	Ports    int `json:"ports"`
	NewPorts int `json:"new_ports"`
	// Bridges are the PCI bridges that the command makes, on pc; NewBridges, how many of those the last boot did not have.
	Bridges    int `json:"bridges"`
	NewBridges int `json:"new_bridges"`
}

// PlanBoot says what the next boot comes to, without opening or changing anything. sparePorts is as in [BootOptions].
func (r *Runtime) PlanBoot(sparePorts int) (BootPlan, error) {
	var memory arena
	defer memory.free()
	spare := memory.number("the spare ports", sparePorts)
	if memory.err != nil {
		return BootPlan{}, memory.err
	}
	var plan C.struct_kvm_boot_plan
	err := r.call(func(handle *C.struct_kvm_runtime, failure **C.struct_kvm_hotplug_error) C.int {
		return C.kvm_runtime_plan_boot(handle, spare, &plan, C.sizeof_struct_kvm_boot_plan, failure)
	})
	if err != nil {
		return BootPlan{}, err
	}
	return BootPlan{
		Machine:  Machine(plan.machine),
		Devices:  int(plan.devices),
		Free:     int(plan.free),
		Ports:    int(plan.ports),
		NewPorts: int(plan.new_ports),

		Bridges:    int(plan.bridges),
		NewBridges: int(plan.new_bridges),
	}, nil
}
