use super::*;

fn settle(place: &Arc<Place>, staged: Staged, old: &[u8]) -> Result<()> {
    let before = |part| Ok((part == Part::Record && !old.is_empty()).then(|| old.to_vec()));
    place.settle(staged, before)
}

fn replace(place: &Arc<Place>, bytes: &[u8]) -> Result<()> {
    settle(place, place.stage(Part::Record, bytes, Over::Old)?, b"")
}

fn place() -> (tempfile::TempDir, Arc<Place>) {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::open(&dir.path().join("web1.runtime"), Trust::Checked).unwrap();
    (dir, place)
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
    let (dir, place) = place();
    assert_eq!(place.read(Part::Record).unwrap(), None);
    replace(&place, b"one").unwrap();
    replace(&place, b"two").unwrap();
    assert_eq!(place.read(Part::Record).unwrap().unwrap(), b"two");
    assert_eq!(names(&dir), ["web1.runtime"]);
    let mode = std::fs::metadata(dir.path().join("web1.runtime")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn an_uncommitted_stage_changes_nothing() {
    let (dir, place) = place();
    replace(&place, b"old").unwrap();
    drop(place.stage(Part::Record, b"new", Over::Old).unwrap());
    assert_eq!(place.read(Part::Record).unwrap().unwrap(), b"old");
    assert_eq!(names(&dir), ["web1.runtime"]);
    let staged = place.stage(Part::Record, b"new", Over::Nothing).unwrap();
    let error = settle(&place, staged, b"old").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(place.read(Part::Record).unwrap().unwrap(), b"old");
}

/// Two parts are replaced together or not at all.
#[test]
fn what_cannot_be_put_in_place_takes_the_rest_back() {
    let (dir, place) = place();
    replace(&place, b"old").unwrap();
    let both = || {
        let mut staged = place.stage(Part::Record, b"new", Over::Old).unwrap();
        staged.add(Part::Companion, b"beside", Over::Old).unwrap();
        staged
    };
    let obstacle = dir.path().join("web1.runtime.kvm-hotplug");
    std::fs::create_dir_all(obstacle.join("full")).unwrap();
    let error = settle(&place, both(), b"old").unwrap_err();
    assert!(error.left().is_empty() && error.message().contains("web1.runtime.kvm-hotplug"), "{error}");
    assert_eq!(place.read(Part::Record).unwrap().unwrap(), b"old");
    std::fs::remove_dir_all(obstacle).unwrap();
    assert_eq!(names(&dir), ["web1.runtime"]);
    settle(&place, both(), b"old").unwrap();
    assert_eq!(place.read(Part::Record).unwrap().unwrap(), b"new");
    assert_eq!(place.read(Part::Companion).unwrap().unwrap(), b"beside");
    let mut staged = place.stage(Part::Record, b"newer", Over::Old).unwrap();
    staged.remove(Part::Companion);
    settle(&place, staged, b"new").unwrap();
    assert_eq!(names(&dir), ["web1.runtime"]);
}

#[test]
fn links_and_odd_files_are_refused() {
    let (dir, place) = place();
    std::fs::write(dir.path().join("real"), "x").unwrap();
    std::os::unix::fs::symlink("real", dir.path().join("web1.runtime")).unwrap();
    let error = place.read(Part::Record).unwrap_err();
    assert_eq!(error.errno(), libc::ELOOP);
    std::fs::remove_file(dir.path().join("web1.runtime")).unwrap();
    nix::unistd::mkfifo(&dir.path().join("web1.runtime"), Mode::S_IRWXU).unwrap();
    assert_eq!(place.read(Part::Record).unwrap_err().kind(), ErrorKind::Invalid);
    assert!(Place::open(Path::new("/"), Trust::Checked).is_err());
    assert!(Place::open(Path::new("/tmp/x/"), Trust::Checked).is_err());
    assert_eq!(Place::open(Path::new("/nowhere/x"), Trust::Checked).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn size_cap() {
    let (dir, place) = place();
    let file = File::create(dir.path().join("web1.runtime")).unwrap();
    file.set_len(MAX_FILE + 1).unwrap();
    let error = place.read(Part::Record).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Limit, libc::EFBIG));
}
