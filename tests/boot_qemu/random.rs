//! Records of every shape, the same for the same seed.

use std::path::Path;
use std::process::Command;

use kvm_hotplug::disk::{Aio, Cache, DetectZeroes, Discard, DiskSpec, Format};
use kvm_hotplug::ids::{BusName, DeviceId, MacAddr, ScsiAddress};
use kvm_hotplug::model::{DEFAULT_RESERVED, Device, Presence, Record, Spec};
use kvm_hotplug::net::spec::NicSpec;
use kvm_hotplug::slots::scsi::ControllerSpec;

/// splitmix64.
pub(crate) struct Random(u64);

pub(crate) fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::from(now.subsec_nanos()) << 12
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn flip(&mut self) -> bool {
        self.below(2) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        let index = self.below(list.len() as u64);
        &list[usize::try_from(index).unwrap()]
    }

    fn rarely<T>(&mut self, value: T) -> Option<T> {
        (self.below(4) == 0).then_some(value)
    }

    /// Text that would mean something to a careless parser.
    fn nasty(&mut self, most: usize) -> String {
        let alphabet = [',', '=', '"', '\'', '{', '}', ' ', '-', '\\', ':', '%', 'd', 'x', ';', '$'];
        let length = 1 + usize::try_from(self.below(most as u64)).unwrap();
        (0..length).map(|_| *self.pick(&alphabet)).collect()
    }

    fn nic(&mut self, index: u64) -> Spec {
        let [_, _, _, _, a, b, c, _] = (self.next() & 0xff_ffff_0000 | index).to_be_bytes();
        let mut spec = NicSpec::new(MacAddr::local([a, b.wrapping_add(c), u8::try_from(index).unwrap()]));
        if self.below(4) == 0 {
            spec.model = (*self.pick(&["e1000", "rtl8139", "virtio-net-pci-non-transitional"])).to_owned();
        }
        if spec.model.starts_with("virtio") {
            spec.queues = *self.pick(&[1, 1, 2, 8]);
            spec.mtu = self.rarely(1400);
        }
        spec.boot_index = self.rarely(u32::try_from(index).unwrap());
        Spec::Nic(spec)
    }

    fn disk(&mut self, folder: &Path, index: u64, scsi: bool) -> Spec {
        let mut spec = self.image(folder, index);
        if scsi {
            spec.model = "scsi-hd".to_owned();
        }
        let serial = self.nasty(20);
        spec.serial = self.rarely(serial);
        spec.read_only = !scsi && self.below(6) == 0;
        spec.share_rw = self.below(6) == 0;
        spec.cache = *self.pick(&[
            Cache::Writeback,
            Cache::None,
            Cache::Writethrough,
            Cache::Directsync,
            Cache::Unsafe,
        ]);
        if spec.cache.direct() && self.flip() {
            spec.aio = Aio::Native;
        }
        if self.flip() {
            (spec.discard, spec.detect_zeroes) = (Discard::Unmap, DetectZeroes::Unmap);
        }
        spec.boot_index = self.rarely(1000 + u32::try_from(index).unwrap());
        spec.logical_block_size = self.rarely(4096);
        Spec::Disk(spec)
    }

    /// An image with a bad name: raw, qcow2, or qcow2 over raw.
    fn image(&mut self, folder: &Path, index: u64) -> DiskSpec {
        let name = format!("{index} -{}\n.img", self.nasty(8));
        let path = folder.join(name);
        let create = |arguments: &[&std::ffi::OsStr]| {
            let done =
                Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).args(arguments).output();
            let done = done.expect("qemu-img is needed");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        };
        // qemu-img would read a colon as the end of a protocol's name.
        let plain = folder.join(format!("plain{index}"));
        match self.below(3) {
            0 => {
                std::fs::write(&path, vec![0; 1 << 20]).unwrap();
                return DiskSpec::new(path, Format::Raw);
            }
            1 => create(&[plain.as_os_str(), "1M".as_ref()]),
            _ => {
                let base = folder.join(format!("base{index}"));
                std::fs::write(&base, vec![0; 1 << 20]).unwrap();
                create(&["-b".as_ref(), base.as_os_str(), "-F".as_ref(), "raw".as_ref(), plain.as_os_str()]);
            }
        }
        std::fs::rename(plain, &path).unwrap();
        DiskSpec::new(path, Format::Qcow2)
    }

    pub(crate) fn record(&mut self, folder: &Path, command: Vec<String>) -> Record {
        let mut record = Record::new(&self.nasty(10), command, DEFAULT_RESERVED).unwrap();
        let count = 1 + self.below(9);
        let device = |id: String, generation, spec, presence| Device {
            id: DeviceId::parse(&id).unwrap(),
            generation,
            address: None,
            presence,
            spec,
            backend: None,
            properties: serde_json::Map::new(),
            ganeti: None,
            extra: serde_json::Map::new(),
        };
        for index in 0..count {
            let presence = *self.pick(&[
                Presence::Live,
                Presence::Live,
                Presence::AddAfterReboot,
                Presence::RemoveAfterReboot,
            ]);
            let (id, spec) = match self.below(5) {
                0 | 1 => (format!("nic-boot-{index}"), self.nic(index)),
                2 | 3 => (format!("disk-boot-{index}"), self.disk(folder, index, false)),
                _ => (format!("scsi-boot-{index}"), self.disk(folder, index, true)),
            };
            record.add(device(id, index, spec, presence));
        }
        if self.flip() {
            // Behind its disk, as no list has to have it in front.
            let mut disk = device("d.scsi-1".into(), count, self.disk(folder, count, true), Presence::Live);
            disk.address = Some(ScsiAddress::of_target(BusName::parse("ctl_1.0").unwrap(), 3).into());
            record.add(disk);
            let spec =
                Spec::Controller(ControllerSpec { queues: self.rarely(2), ..ControllerSpec::default() });
            record.add(device("ctl_1".into(), count + 1, spec, Presence::Live));
        }
        record.check().unwrap();
        record
    }
}
