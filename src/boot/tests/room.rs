use super::*;
use crate::slots::pci::WhenFull;

/// On `pc` a bridge comes when nothing but the last slot is free, and then as long as something is behind it.
#[test]
fn a_bridge_makes_room_where_the_record_says_so() {
    let scene = Scene::new();
    let disks: Vec<Device> = (0..30).map(|number| scene.disk(&format!("d{number}"))).collect();
    let mut runtime = scene.runtime(&["qemu", "-M", "pc"], &disks);
    assert_eq!(runtime.boot_plan(0).unwrap_err().kind(), ErrorKind::NoSlot);
    runtime.set_when_full(WhenFull::NextBoot).unwrap();
    let plan = runtime.boot_plan(0).unwrap();
    assert_eq!((plan.devices, plan.bridges, plan.new_bridges, plan.free), (30, 1, 1, 28));
    assert!(runtime.record().bridges.is_empty(), "a plan changes nothing");
    let first = runtime.boot_command(request()).unwrap().argv;
    assert_eq!(first[3..5], ["-device", "driver=pci-bridge,addr=1f,bus=pci.0,chassis_nr=1,id=bridge1"]);
    assert_eq!(
        slots(&runtime)[25..],
        ["pci.0 slot 29", "pci.0 slot 30", "bridge1 slot 1", "bridge1 slot 2", "bridge1 slot 3"]
    );
    let made = runtime.record().bridges.clone();
    drop(runtime);
    let again = RecordFile::load(&scene.0.path().join("vm.runtime")).unwrap();
    assert_eq!(again.record().bridges, made);
    let mut runtime = again;
    assert_eq!(runtime.boot_command(request()).unwrap().argv, first);
    let plan = runtime.boot_plan(29).unwrap();
    assert_eq!((plan.bridges, plan.new_bridges, plan.free), (1, 0, 28), "pci.0 has no slot for another");
    let incoming = BootRequest { incoming: Some(Incoming::Defer), ..request() };
    let target = runtime.boot_command(incoming).unwrap().argv;
    assert_eq!(target[3..5], ["-incoming", "defer"]);
    assert_eq!(target[5..], first[3..]);
    // A record that wants none keeps what it uses.
    runtime.set_when_full(WhenFull::Refuse).unwrap();
    assert_eq!(runtime.boot_command(request()).unwrap().argv, first);
    let mut next = runtime.record().clone();
    for id in ["d27", "d28", "d29"] {
        next.remove(&DeviceId::parse(id).unwrap());
    }
    runtime.keep(next).unwrap();
    assert_eq!((runtime.boot_plan(0).unwrap().bridges, runtime.record().bridges.len()), (0, 1));
    assert!(!runtime.boot_command(request()).unwrap().argv.iter().any(|word| word.contains("pci-bridge")));
}

/// As many as it takes for what is to be left over, with ids and numbers that nothing else has.
#[test]
fn bridges_for_devices_that_are_still_to_come() {
    let scene = Scene::new();
    let command = ["qemu", "-M", "pc", "-device", "pci-bridge,id=bridge1,chassis_nr=2,addr=0x1e"];
    let mut runtime = scene.runtime(&command, &[scene.disk("a")]);
    let free = |runtime: &RecordFile, spare| runtime.boot_plan(spare).map(|plan| (plan.bridges, plan.free));
    assert_eq!(free(&runtime, 100).unwrap(), (0, 57));
    runtime.set_when_full(WhenFull::NextBoot).unwrap();
    assert_eq!(free(&runtime, 56).unwrap(), (0, 56));
    assert_eq!(free(&runtime, 100).unwrap(), (2, 116));
    let argv = runtime.boot_command(BootRequest { spare_ports: 100, ..request() }).unwrap().argv;
    let made: Vec<&String> =
        argv.iter().filter(|word| word.contains("bus=pci.0") && word.contains("bridge")).collect();
    assert_eq!(
        made,
        [
            "driver=pci-bridge,addr=1f,bus=pci.0,chassis_nr=1,id=bridge2",
            "driver=pci-bridge,addr=1d,bus=pci.0,chassis_nr=3,id=bridge3"
        ]
    );
    assert_eq!(slots(&runtime), ["pci.0 slot 4"]);
}
