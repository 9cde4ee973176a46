//! The requests that JSON texts are read as, and the texts that are refused.

use super::*;
use crate::error::ErrorKind;

fn no_fds(_: &[i32]) -> Result<Vec<Descriptor>> {
    Ok(Vec::new())
}

fn read(text: &str) -> Result<Vec<AddRequest>> {
    read_devices(text, &no_fds)
}

fn refused(text: &str) -> String {
    read(text).unwrap_err().message().to_string()
}

#[test]
fn every_member_of_a_nic() {
    let text = r#"{"type": "nic", "id": "lan", "mac": "52:54:00:00:00:01", "bridge": "br0", "ifname": "tap7",
        "model": "virtio-net-pci-transitional", "bus": "pci.0", "slot": 9, "queues": 4, "vhost": "required",
        "mtu": 1400, "boot_index": 0, "tap_owner": 0, "link": "down", "live_only": true}"#;
    let all = read(text).unwrap();
    let [AddRequest::Nic(nic)] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(nic.placement.id.as_ref().unwrap().as_str(), "lan");
    assert_eq!(nic.placement.address.as_ref().unwrap().to_string(), "pci.0 slot 9");
    assert!(nic.placement.live_only && nic.link_down);
    assert_eq!((nic.queues, nic.vhost, nic.mtu), (4, VhostMode::Required, Some(1400)));
    assert_eq!(nic.bridge.as_ref().unwrap().as_str(), "br0");
    assert_eq!((nic.boot_index, nic.model.as_str()), (Some(0), "virtio-net-pci-transitional"));
    assert!(
        matches!(&nic.tap, TapSource::Open { name: Some(name), owner: Some(0), netns: None } if name == "tap7")
    );
}

#[test]
fn every_member_of_a_disk() {
    let text = r#"[{"type": "disk", "id": "data", "path": "/srv/data.img", "serial": "A1", "model": "scsi-hd",
        "bus": "scsi-pci-7.0", "target": 3, "lun": 1, "format": "qcow2", "cache": "none", "aio": "io_uring",
        "discard": "unmap", "detect_zeroes": "unmap", "logical_block_size": 4096,
        "physical_block_size": 4096, "queues": 0, "boot_index": 1, "read_only": true, "share_rw": true,
        "wwn": 5764607523034234880, "backing": {"files": ["/srv/base.img"]}}]"#;
    let all = read(text).unwrap();
    let [AddRequest::Disk(disk)] = all.as_slice() else { panic!("{all:?}") };
    let spec = &disk.spec;
    assert_eq!(disk.placement.address.as_ref().unwrap().to_string(), "scsi-pci-7.0 target 3 lun 1");
    assert_eq!((spec.cache, spec.aio), (Cache::None, Aio::IoUring));
    assert_eq!((spec.discard, spec.detect_zeroes), (Discard::Unmap, DetectZeroes::Unmap));
    assert_eq!((spec.logical_block_size, spec.queues, spec.boot_index), (Some(4096), None, Some(1)));
    assert!(spec.read_only && spec.share_rw && disk.format == FormatRequest::Qcow2);
    assert_eq!(spec.wwn.map(NonZeroU64::get), Some(5764607523034234880));
    assert_eq!(spec.backing, Some(BackingRule::Files(vec!["/srv/base.img".into()])));
}

#[test]
fn a_list_by_itself_and_in_an_object() {
    let one = r#"{"type": "controller", "id": "hba", "queues": 2, "bus": "pci.0", "slot": 4}"#;
    for text in [one.to_owned(), format!("[{one}]"), format!(r#"{{"devices": [{one}]}}"#)] {
        let all = read(&text).unwrap();
        assert!(
            matches!(all.as_slice(), [AddRequest::Controller(hba)] if hba.spec.queues == Some(2)),
            "{text}"
        );
        assert_eq!(read_wanted(&text, &no_fds).is_ok(), text != one, "{text}");
    }
    assert!(read("[]").unwrap().is_empty() && read(r#"{"devices": []}"#).unwrap().is_empty());
}

#[test]
fn what_is_wrong_is_named() {
    for (text, says) in [
        ("", "EOF"),
        (r#"[["nic", "lan"]]"#, "devices[0] is no object"),
        (r#"{"devices": {"type": "nic"}}"#, "expected a sequence"),
        ("7", "neither a device nor a list"),
        ("[", "EOF"),
        ("{}", "missing field `devices`"),
        (r#"{"devices": [], "version": 1}"#, "unknown field `version`"),
        (r#"[{"id": "lan"}]"#, "missing field `type`"),
        (r#"[{"type": "tap", "id": "lan"}]"#, "unknown variant `tap`"),
        (r#"[{"type": "nic", "mtuu": 9}]"#, "unknown field `mtuu`"),
        (r#"[{"type": "nic", "mtu": 1, "mtu": 2}]"#, "duplicate field `mtu`"),
        (r#"[{"type": "nic", "mtu": 65536}]"#, "65536"),
        (r#"[{"type": "nic", "queues": -1}]"#, "-1"),
        (r#"[{"type": "nic", "queues": 1.5}]"#, "1.5"),
        (r#"[{"type": "nic", "queues": "2"}]"#, "invalid type: string"),
        (r#"[{"type": "nic", "vhost": "on"}]"#, "unknown variant `on`"),
        (r#"[{"type": "nic", "link": "Down"}]"#, "unknown variant `Down`"),
        (r#"[{"type": "nic", "slot": 3}]"#, "without a bus"),
        (r#"[{"type": "nic", "bus": "pci.0", "slot": 32}]"#, "32"),
        (r#"[{"type": "nic", "mac": "52:54"}]"#, "52:54"),
        (r#"[{"type": "disk", "id": "data"}]"#, "path is missing; a disk has a path or a source"),
        (r#"[{"type": "disk", "path": ""}]"#, "path is empty"),
        (r#"[{"type": "disk", "source": {"driver": "vvfat"}}]"#, "driver vvfat is not supported"),
        (r#"[{"type": "disk", "source": "nbd:a"}]"#, "invalid type: string"),
        (r#"[{"type": "disk", "path": "/a", "format": "vmdk"}]"#, "unknown variant `vmdk`"),
        (r#"[{"type": "disk", "path": "/a", "target": 1}]"#, "SCSI"),
        (r#"[{"type": "disk", "path": "/a", "backing": {"files": []}}]"#, "1 to 64 paths"),
        (r#"[{"type": "nic"}, {"type": "nic", "id": "a b"}]"#, "devices[1]"),
        (r#"[{"type": "controller", "queues": 70000}]"#, "70000"),
    ] {
        let message = refused(text);
        assert!(message.contains(says), "{text}: {message}");
        assert_eq!(read(text).unwrap_err().kind(), ErrorKind::Invalid, "{text}");
    }
}

#[test]
fn there_is_an_end_to_lists_and_texts() {
    let many = |count: usize| format!("[{}]", vec![r#"{"type":"nic"}"#; count].join(","));
    assert_eq!(read(&many(MOST_DEVICES)).unwrap().len(), MOST_DEVICES);
    assert_eq!(read(&many(MOST_DEVICES + 1)).unwrap_err().errno(), errno::E2BIG);
    let long = format!("[{}]", " ".repeat(MOST_BYTES));
    assert_eq!(read(&long).unwrap_err().errno(), errno::E2BIG);
    let deep = "[".repeat(100_000);
    assert!(refused(&deep).contains("recursion"), "{}", refused(&deep));
}

#[test]
fn taps_of_the_caller() {
    let text = r#"{"type": "nic", "tap_fds": [3, 4]}"#;
    let error = read_devices(text, &|fds| Err(Error::invalid(format!("{fds:?}")))).unwrap_err();
    assert!(error.message().contains("[3, 4]"), "{error}");
}

#[test]
fn each_device_of_a_wanted_list_has_an_id_of_its_own() {
    let ids = |text: &str| wanted_ids(&read(text).unwrap());
    let error = ids(r#"[{"type": "nic", "id": "lan"}, {"type": "nic"}]"#).unwrap_err();
    assert!(error.message().contains("devices[1] has no id"), "{error}");
    let error = ids(r#"[{"type": "nic", "id": "lan"}, {"type": "nic", "id": "lan"}]"#).unwrap_err();
    assert!(error.message().contains("lan is in the list twice"), "{error}");
    assert_eq!(ids(r#"[{"type": "nic", "id": "lan"}]"#).unwrap().len(), 1);
}
