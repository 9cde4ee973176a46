//! The header of an image that anybody may have written.

use kvm_hotplug::disk::qcow2;

/// What the target does with an input.
pub fn run(data: &[u8]) {
    let cluster = qcow2::cluster_size(data);
    let Ok(header) = qcow2::parse(data) else { return };
    let cluster = cluster.unwrap();
    assert!(qcow2::has_magic(data) && cluster.is_power_of_two() && (512..=2 << 20).contains(&cluster));
    // What follows the first cluster is the guest's.
    assert_eq!(qcow2::parse(&data[..cluster.min(data.len())]).unwrap(), header);
    if let Some(backing) = header.backing {
        let name = backing.name.as_encoded_bytes();
        assert!((1..=qcow2::MAX_BACKING_NAME).contains(&name.len()) && !name.contains(&0));
        assert!(data.windows(name.len()).any(|part| part == name));
        assert!(backing.format.is_none_or(|format| format.bytes().all(|byte| byte.is_ascii_graphic())));
    }
}
