use super::*;

/// What QEMU would refuse about a boot is known before.
#[test]
fn check_knows_what_qemu_would_refuse() {
    let scene = Scene::new();
    let issues = |command: &[&str], devices: &[Device], migrates| {
        let runtime = scene.runtime(command, devices);
        let deadline = crate::deadline::Deadline::after(std::time::Duration::from_secs(5));
        let found = runtime.check_host(migrates, None, &deadline).unwrap();
        found.into_iter().map(|issue| (issue.kind, issue.id, issue.text)).collect::<Vec<_>>()
    };
    let booting = |id: &str, index: u32| {
        let mut device = scene.disk(id);
        if let Spec::Disk(spec) = &mut device.spec {
            spec.boot_index = Some(index);
        }
        device
    };
    let image_of = |id: &str, other: &str, change: fn(&mut DiskSpec)| {
        let mut device = scene.disk(id);
        let path = scene.0.path().join(format!("{other}.img"));
        if let Spec::Disk(spec) = &mut device.spec {
            spec.path = path;
            change(spec);
        }
        device
    };
    let one = scene.disk("one");
    let path = scene.0.path().join("one.img").display().to_string();
    let (drive, cd) = (format!("file={path},if=virtio"), format!("file={path},media=cdrom"));
    let nothing = |_: &mut DiskSpec| ();
    let read = |spec: &mut DiskSpec| spec.read_only = true;
    let shared = |spec: &mut DiskSpec| spec.share_rw = true;
    let (command, used) = (IssueKind::Command, IssueKind::ImageInUse);
    type Row<'a> = (&'a [&'a str], Vec<Device>, &'a [(IssueKind, &'a str, &'a str)]);
    let table: [Row<'_>; 15] = [
        (&[], vec![], &[(command, "", "has no command")]),
        (&["q"], vec![one.clone()], &[]),
        (&["q", "-device", "x,id=one"], vec![one.clone()], &[(command, "one", "has one already")]),
        (&["q"], vec![booting("one", 1), booting("two", 2)], &[]),
        (&["q"], vec![booting("one", 1), booting("two", 1)], &[(command, "two", "that of one")]),
        (
            &["q", "-device", "e1000,bootindex=1"],
            vec![booting("one", 1)],
            &[(command, "one", "that of e1000")],
        ),
        (&["q", "-drive", &drive], vec![one.clone()], &[(used, "one", "-drive")]),
        (&["q", "-drive", &cd], vec![image_of("one", "one", read)], &[]),
        (&["q", "-drive", &cd], vec![one.clone()], &[(used, "one", "-drive")]),
        (&["q", "-cdrom", "/nowhere/cd.iso"], vec![], &[(command, "", "/nowhere/cd.iso")]),
        (&["q", "-kernel", "/nowhere/k"], vec![], &[(command, "", "/nowhere/k")]),
        (&["q", "-qmp", "unix:/nowhere/q,server=on"], vec![], &[(command, "", "/nowhere")]),
        (&["q"], vec![one.clone(), image_of("two", "one", nothing)], &[(used, "two", "that of one")]),
        (&["q"], vec![image_of("one", "one", shared), image_of("two", "one", shared)], &[]),
        (
            &["q"],
            vec![image_of("one", "one", read), image_of("two", "one", nothing)],
            &[(used, "two", "that of one")],
        ),
    ];
    for (command, devices, expected) in table {
        let found = issues(command, &devices, false);
        assert_eq!(found.len(), expected.len(), "{command:?}: {found:?}");
        for ((kind, id, text), (is, of, says)) in found.iter().zip(expected) {
            assert!(kind == is && id == of && text.contains(says), "{command:?}: {text}");
        }
    }
    let waits = issues(&["q", "-incoming", "defer"], &[], true);
    assert!(waits.iter().any(|(kind, _, text)| *kind == command && text.contains("-incoming")), "{waits:?}");
    // Those that take turns do not get in each other's way; those that stay do, and no boot is made of them.
    let mut turns = [booting("one", 1), booting("two", 1)];
    let mut runtime = scene.runtime(&["q"], &turns);
    assert!(runtime.boot_command(request()).unwrap_err().message().contains("boot index 1"));
    drop(runtime);
    turns[0].presence = Presence::RemoveAfterReboot;
    turns[1].presence = Presence::AddAfterReboot;
    scene.runtime(&["q"], &turns).boot_command(request()).unwrap();
}

#[test]
fn what_cannot_start_is_refused() {
    let scene = Scene::new();
    let refused = |command: &[&str], change: &dyn Fn(&mut Device), request: BootRequest| {
        let mut device = scene.disk("data");
        change(&mut device);
        let mut runtime = scene.runtime(command, &[device]);
        let error = runtime.boot_command(request).unwrap_err();
        assert_eq!(runtime.record().devices.len(), 1);
        error
    };
    let at = |slot: u8| {
        move |device: &mut Device| {
            device.address =
                Some(serde_json::from_value(serde_json::json!({"bus": "pci.0", "slot": slot})).unwrap());
        }
    };
    let model = |name: &'static str| {
        move |device: &mut Device| {
            if let Spec::Disk(spec) = &mut device.spec {
                spec.model = name.to_owned();
            }
        }
    };
    let target = || BootRequest { incoming: Some(Incoming::Defer), ..request() };
    let same = |_: &mut Device| {};
    let table = [
        (refused(&[], &same, request()), "has no command"),
        (
            refused(&["q", "-blockdev", "null-co,node-name=data"], &same, request()),
            "has data already, in -blockdev",
        ),
        (refused(&["q", "-incoming", "defer"], &same, target()), "-incoming already"),
        (refused(&["q"], &same, target()), "has no address"),
        (refused(&["q", "-device", "x,id=own,addr=9"], &at(9), request()), "pci.0 slot 9 is taken by own"),
        (refused(&["q"], &at(1), request()), "taken by the chipset"),
        (refused(&["q", "-M", "microvm"], &same, request()), "data: "),
        (refused(&["q"], &model("ide-hd"), request()), "ide-hd is no PCI device"),
        (refused(&["q"], &same, BootRequest { fd_base: 2, ..request() }), "at least 3"),
        (
            refused(&["q"], &same, BootRequest { fd_base: u32::MAX, ..request() }),
            "no descriptor has such numbers",
        ),
    ];
    for (error, text) in table {
        assert!(error.message().contains(text), "{error} should say {text}");
    }
    let mut runtime = scene.runtime(&["q"], &[scene.disk("data")]);
    runtime.attach().unwrap();
    assert_eq!(runtime.boot_command(request()).unwrap_err().errno(), libc::EBUSY);
}
