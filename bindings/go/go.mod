module example.org/kvm-hotplug/bindings/go

go 1.22
