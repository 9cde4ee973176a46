// The same in C++, with a handle that frees itself.
#include <iostream>
#include <memory>

#include <kvm_hotplug.h>

int main()
{
    kvm_runtime *made = nullptr;
    if (kvm_runtime_new(nullptr, 0, &made, nullptr) != 0)
        return 1;
    std::unique_ptr<kvm_runtime, void (*)(kvm_runtime *)> runtime(made, kvm_runtime_free);
    std::cout << kvm_hotplug_version() << '\n';
    return 0;
}
