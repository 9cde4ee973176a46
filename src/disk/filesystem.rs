//! File systems whose files hold no data of their own: the kernel makes up what is read, and does something
//! when they are written.

/// Each by what `statfs` calls it (`include/uapi/linux/magic.h`, and the file systems' own sources).
const MADE_UP: &[(u32, &str)] = &[
    (0x0000_9fa0, "procfs"),
    (0x6265_6572, "sysfs"),
    (0x0000_1cd1, "devpts"),
    (0x0027_e0eb, "cgroup"),
    (0x6367_7270, "cgroup2"),
    (0x6462_6720, "debugfs"),
    (0x7472_6163, "tracefs"),
    (0x7363_6673, "securityfs"),
    (0xcafe_4a11, "bpf"),
    (0x6265_6570, "configfs"),
    (0x6165_676c, "pstore"),
    (0xde5e_81e4, "efivarfs"),
    (0xf97c_ff8c, "selinuxfs"),
    (0x4341_5d53, "smackfs"),
    (0x5a3c_69f0, "apparmorfs"),
    (0x4249_4e4d, "binfmt_misc"),
    (0x1980_0202, "mqueue"),
    (0x6e73_6673, "nsfs"),
    (0x534f_434b, "sockfs"),
    (0x5049_5045, "pipefs"),
    (0x0904_1934, "anonymous inodes"),
    (0x5049_4446, "pidfs"),
    (0x5345_434d, "secretmem"),
    (0x444d_4142, "dma-buf"),
    (0x6264_6576, "bdev"),
    (0x6464_6178, "dax"),
    (0x474d_454d, "guest_memfd"),
    (0x0bad_1dea, "futexfs"),
    (0x6573_5543, "fusectl"),
    (0x6759_6969, "rpc_pipefs"),
    (0x6e66_7364, "nfsd"),
    (0xabba_1974, "xenfs"),
    (0x0765_5821, "resctrl"),
    (0x6c6f_6f70, "binder"),
    (0x0000_0187, "autofs"),
    (0x0000_9fa1, "openpromfs"),
    (0x0000_9fa2, "usbdevfs"),
    (0x6162_6673, "functionfs"),
    (0xaee7_1ee7, "gadgetfs"),
    (0x76a9_f425, "ocfs2_dlmfs"),
    (0x6f70_726f, "oprofilefs"),
    (0x23c9_b64e, "spufs"),
    (0x6462_7067, "ibmasmfs"),
];

/// Its name, if what `statfs` says is one of them.
pub(super) fn made_up(statfs: i128) -> Option<&'static str> {
    // The field is signed on some machines, and a number with the highest bit set is negative there.
    let found = u32::try_from(statfs & 0xffff_ffff).ok()?;
    MADE_UP.iter().find_map(|(number, name)| (*number == found).then_some(*name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_number() {
        assert_eq!(made_up(0x9fa0), Some("procfs"));
        // As a C library has it whose field is a signed number of 32 bits.
        let signed = i32::from_ne_bytes(0xcafe_4a11_u32.to_ne_bytes());
        assert_eq!(made_up(i128::from(signed)), Some("bpf"));
        // ext4, tmpfs, overlayfs, btrfs, ramfs and hugetlbfs hold what was written to them.
        for real in [0xef53, 0x0102_1994, 0x794c_7630, 0x9123_683e, 0x8584_58f6, 0x958_458f6] {
            assert_eq!(made_up(real), None, "{real:#x}");
        }
    }
}
