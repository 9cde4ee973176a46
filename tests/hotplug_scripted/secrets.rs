//! Secrets and credentials for TLS of a disk's source: objects of its own in QEMU, and no word of a secret
//! anywhere else.
#![allow(unreachable_pub)]

use std::io::Read;
use std::path::Path;

use kvm_hotplug::ErrorKind;
use kvm_hotplug::boot::{BootRequest, FIRST_FD, Incoming, IssueKind};
use kvm_hotplug::deadline::Deadline;
use kvm_hotplug::disk::Secret;
use kvm_hotplug::model::Spec;
use kvm_hotplug::store::RecordFile;
use serde_json::{Value, json};

use crate::support::api::*;
use crate::support::fake::Act;
use crate::support::fixture::Fixture;

/// Whoever finds this anywhere but in QEMU has found a fault.
const PASSPHRASE: &str = "open, sesame";
/// The same as QEMU gets it.
const ENCODED: &str = "b3Blbiwgc2VzYW1l";

fn encrypted(fixture: &Fixture) -> DiskArgs {
    let file = json!({"driver": "file", "filename": fixture.disk("a.img").path});
    let source = json!({"driver": "luks", "key-secret": "key", "file": file});
    let place = Place { id: Some("data".into()), ..Place::default() };
    let secrets = vec![("key".to_owned(), PASSPHRASE.to_owned())];
    let format = Some("raw".to_owned());
    DiskArgs { place, source: Some(source.to_string()), format, secrets, ..DiskArgs::default() }
}

/// Over TLS, with a certificate whose key has a password.
fn over_tls() -> DiskArgs {
    let server = json!({"type": "inet", "host": "storage", "port": "10809"});
    let source = json!({"driver": "nbd", "server": server, "tls-creds": "tls"});
    let tls =
        json!({"tls": {"qom-type": "tls-creds-x509", "dir": "/etc/pki/qemu", "passwordid": "password"}});
    let place = Place { id: Some("far".into()), ..Place::default() };
    DiskArgs {
        place,
        source: Some(source.to_string()),
        format: Some("raw".to_owned()),
        secrets: vec![("password".to_owned(), PASSPHRASE.to_owned())],
        tls_creds: Some(tls.to_string()),
        ..DiskArgs::default()
    }
}

fn objects(fixture: &Fixture) -> Vec<String> {
    let mut names = Vec::new();
    fixture.qemu.model(|model| names = model.objects.keys().cloned().collect());
    names
}

/// No file of the guest's has it.
fn is_in_no_file(fixture: &Fixture) {
    for entry in std::fs::read_dir(fixture.runtime.parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && path.extension().is_none_or(|end| end != "img") {
            let content = std::fs::read(&path).unwrap();
            has_no_secret(&String::from_utf8_lossy(&content), &path.display().to_string());
        }
    }
}

fn has_no_secret(text: &str, of: &str) {
    assert!(!text.contains(PASSPHRASE) && !text.contains(ENCODED), "{of} has the secret: {text}");
}

pub fn secrets_are_objects_of_their_disk(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let disk = encrypted(&fixture);
    let before = fixture.snapshot();
    fixture.qemu.take_seen();
    done(api.add_disk(&disk));
    let seen = fixture.qemu.take_seen();
    let names: Vec<&str> = seen.iter().map(|seen| seen.name.as_str()).collect();
    assert_eq!(names, ["qom-list", "add-fd", "object-add", "blockdev-add", "device_add"]);
    let object = json!({"qom-type": "secret", "id": "data-key", "format": "base64", "data": ENCODED});
    assert_eq!(seen[2].arguments, object);
    assert_eq!(seen[3].arguments["key-secret"], "data-key");
    let described = api.describe(Some("data")).unwrap().unwrap();
    assert_eq!((&described["secrets"], &described["tls_creds"]), (&json!(["key"]), &json!({})));
    assert_eq!(described["source"]["key-secret"], "key");
    has_no_secret(&described.to_string(), "the description");
    is_in_no_file(&fixture);
    assert_eq!(api.verify().unwrap(), Vec::<String>::new());
    // Somebody deletes it, which QEMU lets them do.
    let removed = |id: &str| {
        let mut object = None;
        fixture.qemu.model(|model| object = model.objects.remove(id));
        object.unwrap()
    };
    let object = removed("data-key");
    let missing = ["data: the record says object data-key is secret, the guest has no object data-key"];
    assert_eq!(api.verify().unwrap(), missing);
    fixture.qemu.model(|model| drop(model.objects.insert("data-key".into(), object)));
    // The same again is there, whatever the secret is by now; without it, it is another disk.
    fixture.qemu.take_seen();
    done(api.add_disk(&DiskArgs { secrets: vec![("key".into(), "another".into())], ..disk.clone() }));
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
    let failure = fails(api.add_disk(&DiskArgs { secrets: Vec::new(), ..disk }), ErrorKind::Conflict);
    assert!(failure.text.contains("another secret or tls_creds"), "{failure:?}");
    // It stays until the node has gone: QEMU would not miss it, and nobody else could take the name.
    done(api.unplug(&UnplugArgs::of("data")));
    let names = fixture.qemu.take_names();
    let at = |name: &str| names.iter().position(|seen| seen == name);
    assert!(at("blockdev-del") < at("object-del"), "{names:?}");
    assert_eq!(fixture.snapshot(), before);
}

pub fn tls_credentials_are_made_after_their_password(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let before = fixture.snapshot();
    fixture.qemu.take_seen();
    done(api.add_disk(&over_tls()));
    let seen = fixture.qemu.take_seen();
    let made: Vec<&Value> =
        seen.iter().filter(|seen| seen.name == "object-add").map(|seen| &seen.arguments).collect();
    assert_eq!(made[0]["id"], "far-password");
    let credentials = json!({
        "qom-type": "tls-creds-x509", "id": "far-tls", "endpoint": "client", "dir": "/etc/pki/qemu",
        "passwordid": "far-password",
    });
    assert_eq!(made[1], &credentials);
    assert_eq!(
        seen.iter().rfind(|seen| seen.name == "blockdev-add").unwrap().arguments["tls-creds"],
        "far-tls"
    );
    let described = api.describe(Some("far")).unwrap().unwrap();
    assert_eq!(described["tls_creds"]["tls"]["dir"], "/etc/pki/qemu");
    assert_eq!(api.verify().unwrap(), Vec::<String>::new());
    done(api.unplug(&UnplugArgs::of("far")));
    assert_eq!(fixture.snapshot(), before);
}

/// Whatever is refused, and by whom: everything goes, and no error says the secret.
pub fn a_secret_goes_with_a_failed_add(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let disk = encrypted(&fixture);
    let before = fixture.snapshot();
    // The first question about the drivers is not for files.
    for (command, nth) in [("object-add", 0), ("blockdev-add", 0), ("device_add", 0)] {
        fixture.qemu.fault(command, nth, Act::refuse("Invalid password, cannot unlock any keyslot"));
        let failure = fails(api.add_disk(&disk), ErrorKind::Qmp);
        assert!(failure.text.contains("Invalid password"), "{failure:?}");
        has_no_secret(&format!("{failure:?}"), "the error");
        assert_eq!(fixture.snapshot(), before, "{command}");
    }
    // One that QEMU has from somebody else is neither used nor taken away.
    fixture.qemu.model(|model| {
        model.objects.insert("data-key".into(), json!({"qom-type": "secret", "id": "data-key", "data": "x"}));
    });
    let failure = fails(api.add_disk(&disk), ErrorKind::Conflict);
    assert!(failure.text.contains("QEMU has an object data-key already"), "{failure:?}");
    assert_eq!(objects(&fixture), ["data-key"]);
    is_in_no_file(&fixture);
}

/// The ids of the objects are made of that of the disk and the name, so that two may come to the same.
pub fn no_disk_has_the_secret_of_another(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let disk = |id: &str, name: &str, file: &str| {
        let file = json!({"driver": "file", "filename": fixture.disk(file).path});
        let source = json!({"driver": "luks", "key-secret": name, "file": file}).to_string();
        let place = Place { id: Some(id.into()), ..Place::default() };
        DiskArgs {
            place,
            source: Some(source),
            secrets: vec![(name.into(), id.into())],
            ..encrypted(&fixture)
        }
    };
    let (one, two) = (disk("a", "b-c", "one.img"), disk("a-b", "c", "two.img"));
    let before = fixture.snapshot();
    let failure = api.add_all(&[], &[one.clone(), two.clone()], AMPLE).unwrap_err();
    assert!(failure.text.contains("both have the object a-b-c"), "{failure:?}");
    assert_eq!(fixture.snapshot(), before);
    done(api.add_disk(&one));
    let failure = api.add_disk(&two).unwrap_err();
    assert!(failure.text.contains("both have the object a-b-c"), "{failure:?}");
    assert_eq!(objects(&fixture), ["a-b-c"]);
    done(api.unplug(&UnplugArgs::of("a")));
    done(api.add_disk(&two));
}

/// A journal that waits for the next agent has the name alone.
pub fn the_next_agent_takes_a_secret_back_by_its_name(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    fixture.qemu.fault("device_add", 0, Act::LoseAnswer);
    let failure = fails(
        api.add_disk(&DiskArgs {
            place: Place { timeout_ms: 150, ..encrypted(&fixture).place },
            ..encrypted(&fixture)
        }),
        ErrorKind::Timeout,
    );
    has_no_secret(&format!("{failure:?}"), "the error");
    assert!(fixture.journal().exists());
    is_in_no_file(&fixture);
    drop(api);
    let api = fixture.open(agent);
    let is_gone = || objects(&fixture).is_empty() && api.list().is_empty();
    assert!(crate::support::host::eventually(|| {
        let _ = api.process(AMPLE);
        is_gone()
    }));
    done(api.add_disk(&encrypted(&fixture)));
}

pub fn secrets_that_cannot_be_are_refused(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let good = encrypted(&fixture);
    let before = fixture.snapshot();
    fixture.qemu.take_seen();
    let secret = |name: &str, text: &str| vec![(name.to_owned(), text.to_owned())];
    for (disk, why) in [
        (
            DiskArgs { secrets: secret("kye", "x"), ..good.clone() },
            "kye is given, and no node of the source names it",
        ),
        (DiskArgs { secrets: secret("key", ""), ..good.clone() }, "the secret is empty"),
        (
            DiskArgs { secrets: [secret("key", "x"), secret("key", "y")].concat(), ..good.clone() },
            "given twice",
        ),
        (DiskArgs { tls_creds: Some("[]".into()), ..good.clone() }, "tls_creds is no JSON object"),
        (DiskArgs { secrets: secret("key", "x"), ..fixture.disk_as("other", "b.img") }, "describe a source"),
        (
            DiskArgs { model: Some("scsi-cd".into()), read_only: true, ..good.clone() },
            "secrets and tls_creds with scsi-cd",
        ),
    ] {
        let failure = fails(api.add_disk(&disk), ErrorKind::Invalid);
        assert!(failure.text.contains(why), "{failure:?} lacks {why:?}");
    }
    assert_eq!(fixture.qemu.take_names(), Vec::<String>::new());
    let mut after = fixture.snapshot();
    after.files.retain(|name| name != "b.img");
    assert_eq!(after, before);
    // What is not given has to be in QEMU, as the source names it.
    let failure = fails(api.add_disk(&DiskArgs { secrets: Vec::new(), ..good }), ErrorKind::Qmp);
    assert!(failure.text.contains("No secret with id 'key'"), "{failure:?}");
}

pub fn a_text_has_secrets(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    let disk = encrypted(&fixture);
    let source: Value = serde_json::from_str(disk.source.as_deref().unwrap()).unwrap();
    let text = |secrets: Value| json!([{"type": "disk", "id": "data", "source": source, "secrets": secrets}]);
    for wrong in [json!({"key": PASSPHRASE}), json!({"key": {"base64": "open, sesame"}})] {
        let failure = api.add_json(&text(wrong).to_string(), AMPLE).unwrap_err();
        has_no_secret(&format!("{failure:?}"), "the error");
    }
    fixture.qemu.take_seen();
    api.add_json(&text(json!({"key": {"text": PASSPHRASE}})).to_string(), AMPLE).unwrap();
    let seen = fixture.qemu.take_seen();
    let object = seen.iter().find(|seen| seen.name == "object-add").unwrap();
    assert_eq!(object.arguments["data"], ENCODED);
}

/// Each start is given them anew, and a migration target as well.
pub fn a_start_needs_the_secrets_again(agent: &dyn Agent) {
    let fixture = Fixture::pc();
    let api = fixture.open(agent);
    done(api.add_disk(&encrypted(&fixture)));
    drop(api);
    let mut file = RecordFile::load(&fixture.runtime).unwrap();
    let boot = || BootRequest { fd_base: FIRST_FD, ..BootRequest::default() };
    let target = || BootRequest { incoming: Some(Incoming::Defer), ..boot() };
    for request in [boot(), target()] {
        let error = file.boot_command(request).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::State);
        assert!(error.to_string().contains("data has secrets that have not been given for this start: key"));
    }
    let issues = |file: &RecordFile| {
        let all = file.check_host(false, None, &Deadline::after(std::time::Duration::from_secs(5))).unwrap();
        all.into_iter()
            .filter(|issue| issue.kind == IssueKind::Secret)
            .map(|issue| issue.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(issues(&file), ["data"]);
    let secret = || Secret::new(PASSPHRASE.as_bytes()).unwrap();
    let kind = |result: kvm_hotplug::Result<()>| result.unwrap_err().kind();
    assert_eq!(kind(file.give_secret("nobody", "key", secret())), ErrorKind::NotFound);
    assert_eq!(kind(file.give_secret("data", "other", secret())), ErrorKind::NotFound);
    file.give_secret("data", "key", Secret::new(b"wrong").unwrap()).unwrap();
    file.give_secret("data", "key", secret()).unwrap();
    assert_eq!(issues(&file), Vec::<String>::new());
    // A plan opens nothing.
    let planned = file.plan_command(boot()).unwrap();
    assert!(planned.fds.is_empty());
    let command = file.boot_command(boot()).unwrap();
    assert_eq!(command.argv, planned.argv);
    has_no_secret(&command.argv.join(" "), "the command");
    let at = command.argv.iter().position(|word| word == "-object").unwrap();
    let object = &command.argv[at + 1];
    assert_eq!(object, "qom-type=secret,file=/proc/self/fd/3,id=data-key");
    let blockdev = command.argv.iter().position(|word| word == "-blockdev").unwrap();
    assert!(at < blockdev && command.argv[blockdev + 1].contains(r#""key-secret":"data-key""#));
    let mut content = String::new();
    std::fs::File::from(command.fds[0].try_clone().unwrap()).read_to_string(&mut content).unwrap();
    assert_eq!(content, "", "whoever reads by the descriptor itself is at the end");
    let number = std::os::fd::AsRawFd::as_raw_fd(&command.fds[0]);
    assert_eq!(std::fs::read_to_string(format!("/proc/self/fd/{number}")).unwrap(), PASSPHRASE);
    // It was for that start.
    assert_eq!(file.boot_command(boot()).unwrap_err().kind(), ErrorKind::State);
    is_in_no_file(&fixture);
    let Spec::Disk(spec) = &file.record().devices[0].spec else { panic!("no disk") };
    assert_eq!(spec.own_files(), [Path::new(&fixture.disk("a.img").path)]);
}
