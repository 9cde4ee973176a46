use super::super::staged::{Over, Staged};
use super::*;

fn settle(record_dir: &Arc<RecordDir>, staged: Staged, old: &[u8]) -> Result<()> {
    let before = |file_kind| Ok((file_kind == FileKind::Record && !old.is_empty()).then(|| old.to_vec()));
    record_dir.settle(staged, before)
}

fn replace(record_dir: &Arc<RecordDir>, bytes: &[u8]) -> Result<()> {
    settle(record_dir, record_dir.stage(FileKind::Record, bytes, Over::Old)?, b"")
}

fn record_dir() -> (tempfile::TempDir, Arc<RecordDir>) {
    let dir = tempfile::tempdir().unwrap();
    let record_dir = RecordDir::open(&dir.path().join("web1.runtime"), Trust::Checked).unwrap();
    (dir, record_dir)
}

fn names(dir: &tempfile::TempDir) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn replace_leaves_one_file_of_mode_0600() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, record_dir) = record_dir();
    assert_eq!(record_dir.read(FileKind::Record).unwrap(), None);
    replace(&record_dir, b"one").unwrap();
    replace(&record_dir, b"two").unwrap();
    assert_eq!(record_dir.read(FileKind::Record).unwrap().unwrap(), b"two");
    assert_eq!(names(&dir), ["web1.runtime"]);
    let mode = std::fs::metadata(dir.path().join("web1.runtime")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn an_uncommitted_stage_changes_nothing() {
    let (dir, record_dir) = record_dir();
    replace(&record_dir, b"old").unwrap();
    drop(record_dir.stage(FileKind::Record, b"new", Over::Old).unwrap());
    assert_eq!(record_dir.read(FileKind::Record).unwrap().unwrap(), b"old");
    assert_eq!(names(&dir), ["web1.runtime"]);
    let staged = record_dir.stage(FileKind::Record, b"new", Over::Nothing).unwrap();
    let error = settle(&record_dir, staged, b"old").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(record_dir.read(FileKind::Record).unwrap().unwrap(), b"old");
}

/// Two parts are replaced together or not at all.
#[test]
fn what_cannot_be_put_in_place_takes_the_rest_back() {
    let (dir, record_dir) = record_dir();
    replace(&record_dir, b"old").unwrap();
    let both = || {
        let mut staged = record_dir.stage(FileKind::Record, b"new", Over::Old).unwrap();
        staged.add(FileKind::Sidecar, b"beside", Over::Old).unwrap();
        staged
    };
    let obstacle = dir.path().join("web1.runtime.kvm-hotplug");
    std::fs::create_dir_all(obstacle.join("full")).unwrap();
    let error = settle(&record_dir, both(), b"old").unwrap_err();
    assert!(error.left().is_empty() && error.message().contains("web1.runtime.kvm-hotplug"), "{error}");
    assert_eq!(record_dir.read(FileKind::Record).unwrap().unwrap(), b"old");
    std::fs::remove_dir_all(obstacle).unwrap();
    assert_eq!(names(&dir), ["web1.runtime"]);
    settle(&record_dir, both(), b"old").unwrap();
    assert_eq!(record_dir.read(FileKind::Record).unwrap().unwrap(), b"new");
    assert_eq!(record_dir.read(FileKind::Sidecar).unwrap().unwrap(), b"beside");
    let mut staged = record_dir.stage(FileKind::Record, b"newer", Over::Old).unwrap();
    staged.remove(FileKind::Sidecar);
    settle(&record_dir, staged, b"new").unwrap();
    assert_eq!(names(&dir), ["web1.runtime"]);
}

#[test]
fn links_and_odd_files_are_refused() {
    let (dir, record_dir) = record_dir();
    std::fs::write(dir.path().join("real"), "x").unwrap();
    std::os::unix::fs::symlink("real", dir.path().join("web1.runtime")).unwrap();
    let error = record_dir.read(FileKind::Record).unwrap_err();
    assert_eq!(error.errno(), libc::ELOOP);
    std::fs::remove_file(dir.path().join("web1.runtime")).unwrap();
    nix::unistd::mkfifo(&dir.path().join("web1.runtime"), Mode::S_IRWXU).unwrap();
    assert_eq!(record_dir.read(FileKind::Record).unwrap_err().kind(), ErrorKind::Invalid);
    assert!(RecordDir::open(Path::new("/"), Trust::Checked).is_err());
    assert!(RecordDir::open(Path::new("/tmp/x/"), Trust::Checked).is_err());
    assert_eq!(
        RecordDir::open(Path::new("/nowhere/x"), Trust::Checked).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn size_cap() {
    let (dir, record_dir) = record_dir();
    let file = File::create(dir.path().join("web1.runtime")).unwrap();
    file.set_len(MAX_FILE + 1).unwrap();
    let error = record_dir.read(FileKind::Record).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Limit, libc::EFBIG));
}
