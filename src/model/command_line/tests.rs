use super::*;

fn command_line(arguments: &[&str]) -> CommandLine {
    let program = std::iter::once("qemu").chain(arguments.iter().copied());
    CommandLine::read(&program.map(str::to_owned).collect::<Vec<_>>())
}

#[test]
fn devices_are_found_by_id() {
    let words = ["qemu", "-device", "virtio-scsi-pci,id=scsi,x=a,,id=b", "-netdev", "tap,id=net", "--device"];
    let json = r#"{"driver":"lsi","id":"hba"}"#;
    let command: Vec<String> = words.into_iter().chain([json, "-device"]).map(str::to_owned).collect();
    for (id, named) in [("scsi", true), ("hba", true), ("b", false), ("net", false), ("", false)] {
        assert_eq!(names_device(&command, id), named, "{id}");
    }
}

#[test]
fn machines() {
    for (name, machine) in [
        ("pc", Machine::Conventional),
        ("pc-i440fx-7.2,accel=tcg", Machine::Conventional),
        ("type=q35,smm=off", Machine::Express),
        ("pc-q35-10.0", Machine::Express),
        ("accel=kvm,type=virt-9.2", Machine::Express),
        ("microvm", Machine::Other),
        ("microvm,pcie=off", Machine::Other),
        ("microvm,pcie=on,rtc=off", Machine::Express),
        ("isapc", Machine::Other),
    ] {
        for option in ["-machine", "-M", "--machine"] {
            assert_eq!(command_line(&[option, name]).machine, machine, "{name}");
        }
    }
    assert_eq!(command_line(&[]).machine, Machine::Conventional);
    let twice = command_line(&["-M", "q35", "-machine", "accel=tcg"]);
    assert_eq!((twice.machine, twice.machine_type.as_str()), (Machine::Express, "q35"));
}

#[test]
fn places_and_ids() {
    let found = command_line(&[
        "-machine",
        "q35",
        "-device",
        "virtio-balloon-pci,id=balloon,addr=0x1b",
        "-device",
        "pcie-root-port,id=port,bus=pcie.0,chassis=7,addr=1c.2,hotplug=off",
        "-device",
        r#"{"driver":"pcie-root-port","id":"second","chassis":9}"#,
        "-device",
        "virtio-rng-pci,bus=second",
        "-device",
        r#"{"driver":"virtio-rng-pci","id":"far","bus":"port","addr":"0x0"}"#,
        "-device",
        "pcie-root-port,id=third,addr=0x1d.0x1",
        "-drive",
        "if=none,id=cd,file=/a,,b",
        "-netdev",
        "tap,id=lan,fds=7:8,vhostfds=9:x",
        "-add-fd",
        "fd=12,set=3",
        "-blockdev",
        r#"{"driver":"null-co","node-name":"null"}"#,
    ]);
    let slot = |number| Slot::new(number).unwrap();
    let pinned = |number, function, what: &str| Pinned {
        bus: "pcie.0".into(),
        slot: slot(number),
        function,
        what: what.into(),
    };
    let far = Pinned { bus: "port".into(), ..pinned(0, 0, "far") };
    assert_eq!(
        found.pinned,
        [pinned(0x1b, 0, "balloon"), pinned(0x1c, 2, "port"), far, pinned(0x1d, 1, "third")]
    );
    let on_bus = |bus: &str, what: &str, json| OnBus { bus: bus.into(), what: what.into(), json };
    assert_eq!(found.on_buses, [on_bus("second", "virtio-rng-pci", false)]);
    assert!(found.has_json_device && !command_line(&["-blockdev", "{}"]).has_json_device);
    let port = |name, hotplug, place| Bridge {
        name: BusName::parse(name).unwrap(),
        kind: BusKind::RootPort,
        hotplug,
        place,
    };
    assert_eq!(
        found.bridges,
        [
            port("port", false, Some((slot(0x1c), 2))),
            port("second", true, None),
            port("third", true, Some((slot(0x1d), 1)))
        ]
    );
    let ids: Vec<_> = found.ids.iter().map(|(id, option)| format!("{option} {id}")).collect();
    let expected = [
        "-device balloon",
        "-drive cd",
        "-device far",
        "-netdev lan",
        "-blockdev null",
        "-device port",
        "-device second",
        "-device third",
    ];
    assert_eq!(ids, expected);
    assert_eq!(found.chassis, BTreeSet::from([7, 9]));
    assert_eq!((found.fdsets, found.fds), (BTreeSet::from([3]), BTreeSet::from([7, 8, 9, 12])));
    assert!(!found.incoming && command_line(&["-incoming", "defer"]).incoming);
}

#[test]
fn devices_without_an_id() {
    let found = command_line(&[
        "-device",
        "virtio-balloon",
        "-device",
        "virtio-rng-pci,id=rng",
        "-device",
        r#"{"driver":"qemu-xhci"}"#,
        "-drive",
        "file=/a,if=virtio",
        "-drive",
        "file=/b,if=none,id=b",
        "-watchdog",
        "i6300esb",
    ]);
    assert_eq!(found.devices_without_id, ["virtio-balloon", "qemu-xhci", "virtio-blk", "i6300esb"]);
}

#[test]
fn what_cannot_be_read_pins_nothing() {
    for odd in ["x,addr=", "x,addr=20", "x,addr=5.8", "x,addr=g", "{\"driver\":", ""] {
        assert_eq!(command_line(&["-device", odd]).pinned, [], "{odd}");
    }
    assert_eq!(command_line(&["-device"]).pinned, []);
}
