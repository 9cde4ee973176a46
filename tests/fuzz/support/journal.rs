//! What the journal's reader accepts it writes so that it reads the same again, with at most one entry for
//! each device.

use kvm_hotplug::store::journal_file;

/// What the target does with an input.
pub fn run(data: &[u8]) {
    let Ok(journal) = journal_file::decode(data) else { return };
    for (index, intent) in journal.intents.iter().enumerate() {
        let id = intent.device.id.as_str();
        assert!(journal.intents[..index].iter().all(|other| other.device.id.as_str() != id));
        assert_eq!(journal.find(id), Some(intent));
    }
    let written = journal_file::encode(&journal).unwrap();
    assert_eq!(journal_file::decode(&written).unwrap(), journal, "{}", String::from_utf8_lossy(&written));
}
