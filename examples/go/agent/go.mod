module example.org/kvm-hotplug/examples/go/agent

go 1.22

require example.org/kvm-hotplug/bindings/go v0.0.0

replace example.org/kvm-hotplug/bindings/go => ../../../bindings/go
