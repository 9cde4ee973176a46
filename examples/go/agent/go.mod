module example.org/kvmhotplug-agent

go 1.22

require example.org/kvmhotplug v0.0.0

replace example.org/kvmhotplug => ../kvmhotplug
