module example.org/kvmhotplug

go 1.22
