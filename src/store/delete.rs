//! Taking away all that there is of a guest on this host.

use std::path::Path;

use super::dir::RecordDir;
use super::file_kind::FileKind;
use super::peer;
use super::record_file::{decode_sidecar, read_journal};
use super::trust::Trust;
use super::unfinished::process;
use crate::error::{Error, ErrorKind, Result, errno};
use crate::model::peer::PeerState;

/// Deletes a runtime file, and what the library keeps beside it; what is not there is fine. The journal goes
/// last: cut off before, the call can be repeated. A journal that is open and whose QEMU runs is kept, with
/// the rest, since nothing else says what that guest has.
pub fn delete(path: &Path, trust: Trust) -> Result<()> {
    let record_dir = RecordDir::open(path, trust)?;
    record_dir.check_record()?;
    let _lock = record_dir.lock()?;
    record_dir.remove_stale()?;
    let journal = read_journal(&record_dir)?;
    let peer = journal.peer.as_ref().map_or(PeerState::Unknown, |noted| peer::state(noted));
    if let (PeerState::Runs(pid), false) = (peer, journal.intents.is_empty()) {
        let text = format!(
            "{} runs, and the journal of {} has unfinished operations of its guest; open the guest, which settles them",
            process(pid),
            path.display()
        );
        return Err(Error::new(ErrorKind::State, text).with_errno(errno::EBUSY));
    }
    // A file of another program may have its name.
    if let Some(bytes) = record_dir.read(FileKind::Sidecar)? {
        decode_sidecar(&record_dir, &bytes)?;
    }
    for file_kind in [FileKind::Record, FileKind::Sidecar, FileKind::Journal] {
        record_dir.remove(file_kind)?;
    }
    record_dir.sync(FileKind::Record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Record;
    use crate::store::{Document, RecordFile};

    #[test]
    fn nothing_of_ours_is_left_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web1.runtime");
        let record = Record::new("web1", vec!["qemu".into()], 4).unwrap();
        RecordFile::new(Document::from(record)).save_new(&path).unwrap();
        for (name, text) in [
            ("web1.runtime.journal", r#"{"format":"kvm-hotplug-journal","version":1,"intents":[]}"#),
            (
                "web1.runtime.kvm-hotplug",
                r#"{"format":"kvm-hotplug-companion","version":1,"next_generation":1}"#,
            ),
            ("web1.runtime.new", "{\n  \"format\": \"kvm-hotplug-runtime\","),
            ("web10.runtime", "another's"),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let locked = RecordFile::load(&path).unwrap();
        assert_eq!(delete(&path, Trust::Checked).unwrap_err().kind(), ErrorKind::Locked);
        drop(locked);
        let beside = dir.path().join("web1.runtime.kvm-hotplug");
        let own = std::fs::read(&beside).unwrap();
        std::fs::write(&beside, "another's").unwrap();
        assert!(delete(&path, Trust::Checked).is_err() && path.exists());
        std::fs::write(&beside, own).unwrap();
        for _ in 0..2 {
            delete(&path, Trust::Checked).unwrap();
            let left: Vec<_> =
                std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(left, ["web10.runtime"]);
        }
    }
}
