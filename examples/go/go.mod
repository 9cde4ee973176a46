module example.org/kvm-hotplug-feel

go 1.19
