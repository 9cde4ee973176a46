//! The command that boots a record, whatever the file of the record says: it can be made or it is refused,
//! and made again it is the same.
//!
//! Paths of images are not the input's to choose, and there are no NICs: the host's devices are nothing to
//! play with.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use kvm_hotplug::boot::{BootRequest, FIRST_FD};
use kvm_hotplug::disk::Format;
use kvm_hotplug::model::{Device, Record, Spec};
use kvm_hotplug::store::{Document, RecordFile};
use tempfile::TempDir;

/// More devices than this make files, and nothing new.
const MOST_DISKS: usize = 20;

static SCENE: LazyLock<Scene> = LazyLock::new(Scene::new);

struct Scene {
    file: PathBuf,
    image: PathBuf,
    _directory: TempDir,
}

impl Scene {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let image = directory.path().join("disk.img");
        fs::File::create(&image).unwrap().set_len(1 << 20).unwrap();
        Self { file: directory.path().join("vm.runtime"), image, _directory: directory }
    }

    /// The record without what would reach for the host.
    fn tamed(&self, mut document: Document) -> Option<Document> {
        let record = &mut document.record;
        let nics: Vec<_> =
            record.devices.iter().filter(|d| matches!(d.spec, Spec::Nic(_))).map(|d| d.id.clone()).collect();
        nics.iter().for_each(|id| drop(record.remove(id)));
        for device in &mut record.devices {
            if let Spec::Disk(spec) = &mut device.spec {
                spec.path.clone_from(&self.image);
                (spec.uri, spec.format) = (None, Format::Raw);
            }
        }
        (record.devices.len() <= MOST_DISKS).then_some(document)
    }
}

/// A file lists controllers before disks.
fn by_id(record: &Record) -> Vec<Device> {
    let mut devices = record.devices.clone();
    devices.sort_by(|a, b| a.id.cmp(&b.id));
    devices
}

fn boot(document: &Document, spare_ports: usize) -> Option<(Document, Vec<String>)> {
    let scene = &*SCENE;
    for name in ["vm.runtime", "vm.runtime.journal", "vm.runtime.kvm-hotplug"] {
        let _ = fs::remove_file(scene.file.with_file_name(name));
    }
    let mut runtime = RecordFile::new(document.clone());
    runtime.save_new(&scene.file).ok()?;
    let plan = runtime.boot_plan(spare_ports);
    let request = BootRequest { fd_base: FIRST_FD, spare_ports, ..BootRequest::default() };
    let command = runtime.boot_command(request).ok()?;
    assert!(plan.is_ok_and(|plan| plan.devices == runtime.record().devices.len()), "the plan said otherwise");
    assert!(command.argv.iter().all(|argument| !argument.contains('\0')));
    let next = runtime.document();
    next.check().unwrap();
    drop(runtime);
    assert_eq!(
        by_id(RecordFile::peek(&scene.file).unwrap().record()),
        by_id(&next.record),
        "the record on disk"
    );
    Some((next, command.argv))
}

/// What the target does with an input.
pub fn run(data: &[u8]) {
    let Some(document) = Document::decode(data).ok().and_then(|document| SCENE.tamed(document)) else {
        return;
    };
    let Some((next, argv)) = boot(&document, usize::from(data.first().is_some_and(|byte| *byte == b'{')))
    else {
        return;
    };
    // The ports it asked for are there by then.
    let again = boot(&next, 0).expect("what has been booted can be booted");
    assert_eq!(again, (next, argv));
}
