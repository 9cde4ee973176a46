use serde_json::json;

use super::walk::Qcow2Members;
use super::*;

fn description(value: Value) -> Description {
    Description::parse(&value.to_string()).unwrap()
}

fn nbd() -> Value {
    json!({"driver": "nbd", "server": {"type": "unix", "path": "/run/a.sock"}, "export": "a"})
}

fn file(path: &str) -> Value {
    json!({"driver": "file", "filename": path})
}

#[test]
fn what_is_refused_is_named() {
    let deep = (0..16).fold(file("/a"), |below, _| json!({"driver": "raw", "file": below}));
    let backing = |node: Value| json!({"driver": "qcow2", "file": file("/a"), "backing": node});
    for (value, says) in [
        (json!([]), "it is no JSON object"),
        (json!({}), "source: it has no driver"),
        (json!({"driver": "vvfat", "dir": "/etc"}), "source: driver vvfat is not supported"),
        (json!({"driver": "vmdk", "file": file("/a")}), "source: driver vmdk is not supported"),
        (json!({"driver": "raw"}), "source: it has no file"),
        (json!({"driver": "file"}), "source: it has no filename"),
        (json!({"driver": "file", "filename": 7}), "source.filename: it is no text"),
        (file("a"), "source.filename: disk path \"a\": must be absolute"),
        (file("nbd:unix:/a"), "must be absolute"),
        (file("json:{}"), "must be absolute"),
        (json!({"driver": "raw", "file": "node7"}), "source.file: a node that QEMU has already is not taken"),
        (json!({"driver": "raw", "file": null}), "source.file: a node is described by an object"),
        (backing(json!("node7")), "source.backing: a node that QEMU has already"),
        (
            json!({"driver": "qcow2", "file": file("/a"), "data-file": null}),
            "source.data-file: a node is described",
        ),
        (
            json!({"driver": "raw", "file": {"driver": "nbd", "node-name": "x"}}),
            "source.file.node-name: the library",
        ),
        (
            json!({"driver": "raw", "file.driver": {"driver": "file"}, "file": file("/a")}),
            "a node is not supported here",
        ),
        (json!({"driver": "quorum", "children": [file("/a")]}), "driver quorum is not supported"),
        (
            json!({"driver": "nbd", "server": {"type": "unix", "path": "/a\0"}}),
            "source.server: there is a NUL",
        ),
        (
            json!({"driver": "nbd", "server": [{"node-name": "x"}]}),
            "source.server: a node is not supported here",
        ),
        (
            json!({"driver": "qcow2", "file": {"driver": "raw", "file": file("/a")}}),
            "source.file: the file of a qcow2",
        ),
        (json!({"driver": "nbd", "read-only": true}), "source: read-only: of the node that the device uses"),
        (json!({"driver": "nbd", "cache": {"direct": true}}), "use cache"),
        (json!({"driver": "file", "filename": "/a", "auto-read-only": true}), "source: auto-read-only"),
        (deep, "more than 16 nodes above each other"),
        (json!({"driver": "null-co", "size": "x".repeat(MAX_BYTES)}), "at most 16384"),
    ] {
        let error = Description::parse(&value.to_string()).expect_err(says);
        assert!(error.message().contains(says), "{value}: {error} lacks {says:?}");
    }
}

#[test]
fn files_are_opened_as_qemu_looks_for_them() {
    let source = description(json!({
        "driver": "qcow2",
        "file": file("/top"),
        "data-file": {"driver": "host_device", "filename": "/dev/data"},
        "backing": {
            "driver": "qcow2",
            "file": {"driver": "file", "filename": "/mid", "cache": {"direct": true}},
            "backing": {"driver": "raw", "file": nbd(), "read-only": true},
        },
    }));
    let mode = |read_only, direct| Mode { read_only, direct };
    let seen = |source: &Description, of| {
        let files = source.files(of);
        files
            .iter()
            .map(|file| (file.path.to_str().unwrap().to_owned(), file.mode, file.is_below))
            .collect::<Vec<_>>()
    };
    let own = |path: &str, mode| (path.to_owned(), mode, false);
    for (read_only, direct) in [(false, false), (true, false), (false, true)] {
        let given = mode(read_only, direct);
        let expected = [own("/top", given), ("/mid".into(), mode(true, true), true), own("/dev/data", given)];
        assert_eq!(seen(&source, given), expected);
    }
    assert_eq!(source.paths(false).count(), 2);
    assert_eq!(source.paths(true).collect::<Vec<_>>(), [Path::new("/mid")]);
    assert_eq!(source.opened_by_qemu(), [nbd().as_object().unwrap()]);
    let said: Vec<_> = source.files(mode(false, false)).iter().map(|file| file.qcow2).collect();
    let both = |data_file| Some(Qcow2Members { backing: true, data_file });
    assert_eq!(said, [both(true), both(false), None]);
}

#[test]
fn qemu_gets_descriptors_for_files_and_no_header_counts() {
    let source = description(json!({"driver": "qcow2", "file": file("/top"), "data-file": file("/data")}));
    let on_fdset =
        |number: u32| json!({"driver": "file", "filename": format!("/dev/fdset/{number}"), "aio": "native"});
    assert_eq!(
        Value::from(source.filled(["/dev/fdset/3", "/dev/fdset/4"].into_iter(), Some("native"))),
        json!({"driver": "qcow2", "file": on_fdset(3), "data-file": on_fdset(4), "backing": null})
    );
    let over_nbd = description(json!({"driver": "qcow2", "file": nbd()}));
    let filled = json!({"driver": "qcow2", "file": nbd(), "backing": null});
    assert_eq!(Value::from(over_nbd.filled([].into_iter(), None)), filled);
    assert_eq!(over_nbd.to_value(), json!({"driver": "qcow2", "file": nbd()}));
    assert_eq!(Value::from(description(nbd()).filled([].into_iter(), None)), nbd());
    let own_aio = description(json!({"driver": "file", "filename": "/a", "aio": "io_uring"}));
    assert_eq!(own_aio.filled(["/dev/fdset/1"].into_iter(), Some("native"))["aio"], "io_uring");
}
