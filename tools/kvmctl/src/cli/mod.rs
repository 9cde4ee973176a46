//! What commands and options there are: parsing, help, manual page and completion are made from it.

mod common;
mod devices;
mod netdevs;
mod sources;
pub(crate) mod values;

use clap::{Parser, Subcommand, ValueHint};

pub(crate) use common::Common;
pub(crate) use devices::{
    DiskArguments, IoThreadArguments, LimitArguments, NicArguments, PlaceArguments, RemovalArguments,
    ScsiArguments,
};
use kvm_hotplug::boot::Incoming;
use kvm_hotplug::disk::FormatRequest;
use kvm_hotplug::slots::pci::{SlotKind, SlotPolicy, WhenFull};
use kvm_hotplug::store::Format;
use values::{Backing, Shell, Size};

/// Plugs network cards and disks into a running QEMU guest, changes them, and takes them out again.
///
/// A command is one session: it loads the record of one guest, connects to the guest, does one thing, and
/// ends.
#[derive(Debug, Parser)]
#[command(
    name = "kvmctl",
    version = kvm_hotplug::VERSION,
    max_term_width = 80,
    arg_required_else_help = false,
    after_long_help = statuses(),
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the exit statuses mean.
pub(crate) const STATUSES: [(u8, &str); 6] = [
    (0, "done"),
    (1, "failed"),
    (2, "wrong usage"),
    (3, "recorded for the next boot only"),
    (4, "the guest has not let go yet"),
    (5, "record and guest disagree (verify), or something keeps the guest from starting (check)"),
];

fn statuses() -> String {
    let lines = STATUSES.iter().map(|(status, what)| format!("\n  {status}  {what}"));
    format!("Exit status:{}", lines.collect::<String>())
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a new runtime file, the record of one guest
    ///
    /// What follows -- is the guest's command line, without NICs and disks. With --from-pid it is that of a
    /// process. NICs and disks in it stay there; adopt records them as devices.
    Init {
        /// The guest's name, for people
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// A process of QEMU, which has the command line
        #[arg(long, value_name = "PID", conflicts_with = "command",
              value_parser = clap::value_parser!(i32).range(1..))]
        from_pid: Option<i32>,
        /// QEMU and its arguments
        #[arg(last = true, value_name = "QEMU ARGUMENT")]
        command: Vec<String>,
    },
    /// Make a record of a running guest that any program has started
    ///
    /// From the command line of QEMU's process and from what QEMU says; nothing in the guest changes. NICs
    /// over taps, disks of virtio-blk and scsi-hd over files and block devices, and controllers of
    /// virtio-scsi are recorded, if they have an id. All else stays as it is, and is listed with the reason.
    Adopt(AdoptArguments),
    /// Start the guest that the record describes, in place of this process
    ///
    /// Taps and images are opened and handed to QEMU. Changes that waited for a reboot are made, unless it is
    /// to wait for a migration, with --incoming. If the guest runs already, it is left alone: somebody
    /// listens at a socket of its command line, or at --socket.
    Boot(BootArguments),
    /// Say what keeps this host from starting the guest
    ///
    /// Images, bridges, taps, vhost and places, and whether it runs already. With --socket also what QEMU
    /// knows here; it is that of any QEMU of the version that is going to be used, and never taken from the
    /// environment.
    Check {
        /// It is to come from another host by migration, not to be booted
        #[arg(long)]
        migration: bool,
    },
    /// Write a copy of the record in another format
    ///
    /// FILE must not exist. The record stays as it is.
    Convert {
        /// The format of the copy
        #[arg(value_parser = values::words(&values::FORMATS), value_name = "FORMAT")]
        format: Format,
        /// Where the copy goes
        #[arg(value_hint = ValueHint::FilePath)]
        file: String,
    },
    /// Write a copy of the record
    ///
    /// For a file of another name, or for a migration: kvmctl boot --incoming starts the target with the
    /// copy, on the same host with --monitor. FILE must not exist. The record stays as it is, also while an
    /// agent owns it. What is unfinished is not copied.
    #[command(visible_alias = "clone")]
    Copy {
        /// Where the copy goes
        #[arg(value_hint = ValueHint::FilePath)]
        file: String,
    },
    /// Say where the backing files of the guest's disks may be
    ///
    /// For all disks that have no --backing of their own: beneath the directory of the image (the default),
    /// nowhere, exactly these files from the image down, or beneath one of these directories.
    Backing {
        /// default, own-directory, forbidden, file:PATH or dir:PATH
        #[arg(required = true, value_parser = values::backing)]
        rule: Vec<Backing>,
    },
    /// Record the files that a disk's image is made of now
    ///
    /// After its chain was changed on purpose, or its image was replaced. Look before: qemu-img info
    /// --backing-chain. No other files are opened for the disk later on.
    Accept {
        /// The disk
        id: String,
        /// Where the image's backing files may be; see add-disk
        #[arg(long, value_name = "RULE", value_parser = values::backing)]
        backing: Vec<Backing>,
    },
    /// Reserve slots, for nothing or for devices of some types
    ///
    /// A device gets one of them only if it asks for it by --slot, or if it is of a type of --for. Without
    /// SLOTS, what was reserved on the bus is taken back.
    Reserve {
        /// The bus, such as pci.0
        bus: String,
        /// FIRST-LAST, or one slot
        #[arg(value_parser = values::slots)]
        slots: Option<(u8, u8)>,
        /// May have them (repeatable)
        #[arg(long = "for", value_name = "TYPE", requires = "slots",
              value_parser = values::words(&values::SLOT_KINDS))]
        kinds: Vec<SlotKind>,
    },
    /// Say which of the free slots a new device gets
    SlotPolicy {
        /// The first, or the one that was given up longest ago
        #[arg(value_parser = values::words(&values::SLOT_POLICIES))]
        policy: SlotPolicy,
    },
    /// Say what an add does that finds no free slot
    WhenFull {
        /// It fails, or the device comes with the next boot, which makes a root port or PCI bridge for it
        #[arg(value_parser = values::words(&values::WHEN_FULL))]
        what: WhenFull,
    },
    /// Draw which slots are free, and what is in the others
    Map,
    /// List the NICs, disks and SCSI controllers, or one of them
    ///
    /// With --json all that is known. Without --socket from the record alone, also while an agent owns it; so
    /// it is if the guest is off. What was begun and not finished is said with the device.
    List {
        /// The device
        id: Option<String>,
        /// What the guest has and the record has not: devices of other programs, and those without an id
        #[arg(long, conflicts_with = "id")]
        unrecorded: bool,
    },
    /// Plug a NIC: a tap is opened and handed to QEMU
    ///
    /// With --cold it comes with the next boot.
    AddNic {
        #[command(flatten)]
        nic: Box<NicArguments>,
        /// The guest does not run: change its record alone, for the next boot
        #[arg(long)]
        cold: bool,
    },
    /// Plug a disk: an image or block device is opened and handed to QEMU
    ///
    /// With --model scsi-hd it is a SCSI disk, and with --model scsi-cd --read-only a CD drive; --bus,
    /// --target and --lun say where on which controller. With --cold it comes with the next boot.
    #[command(override_usage = "kvmctl add-disk [OPTIONS] [FILE]")]
    AddDisk {
        #[command(flatten)]
        disk: Box<DiskArguments>,
        /// The guest does not run: change its record alone, for the next boot
        #[arg(long)]
        cold: bool,
    },
    /// Plug a SCSI controller
    ///
    /// Seldom needed: the first disk with --model scsi-hd brings one along.
    AddScsi {
        #[command(flatten)]
        scsi: ScsiArguments,
    },
    /// Take devices out, and wait until the guest has let go of them
    ///
    /// The guest is asked for all of them at once. Until it lets go, tap and image stay in use. The guest may
    /// take its time or refuse; a later command, of whatever kind, finishes a removal that it grants late.
    Del {
        /// The devices
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        removal: RemovalArguments,
        /// Only ask, do not wait for the guest
        #[arg(long)]
        no_wait: bool,
        /// The guest does not run: change its record alone, for the next boot
        #[arg(long)]
        cold: bool,
    },
    /// Make the guest have the NICs and disks of a list, and no others
    ///
    /// FILE is JSON: a list of devices, each with type, id and settings. Links, bridges and limits are
    /// changed in place; what is missing is added, what is not in the list is removed. The same list once
    /// more does nothing. SCSI controllers, and devices that the record does not have, stay.
    Apply(ApplyArguments),
    /// Pull the cable of a NIC, or put it back
    Link {
        /// The NIC
        id: String,
        /// Which
        #[arg(value_parser = values::words(&values::LINKS), value_name = "STATE")]
        state: values::Link,
    },
    /// Move a NIC to another bridge; the guest notices nothing
    Move {
        /// The NIC
        id: String,
        /// The bridge
        #[arg(required_unless_present = "no_bridge", conflicts_with = "no_bridge")]
        bridge: Option<String>,
        /// Take the NIC out of any bridge
        #[arg(long)]
        no_bridge: bool,
    },
    /// Limit how much the guest receives and sends over a NIC
    ///
    /// In bytes per second, or with K, M, G or T behind it (powers of 1024). A direction that is not named
    /// has no limit from then on.
    NicLimits {
        /// The NIC
        id: String,
        #[command(flatten)]
        limits: LimitArguments,
    },
    /// Put a medium into a CD drive, in place of the one that is there
    ///
    /// A guest that has locked the tray is asked to open it until the timeout is over; the exit status says
    /// that it has not, and nothing is changed.
    ChangeMedia {
        /// The drive
        id: String,
        /// An image or block device
        #[arg(value_hint = ValueHint::FilePath)]
        file: String,
        /// Format of the image (default: raw)
        #[arg(long, value_name = "NAME", value_parser = values::words(&values::IMAGE_FORMATS))]
        format: Option<FormatRequest>,
        /// Where the image's backing files may be, as for add-disk
        #[arg(long, value_name = "RULE", value_parser = values::backing)]
        backing: Vec<Backing>,
        /// Open the tray also if the guest has locked it
        #[arg(long)]
        force: bool,
    },
    /// Take the medium out of a CD drive
    Eject {
        /// The drive
        id: String,
        /// Open the tray also if the guest has locked it
        #[arg(long)]
        force: bool,
    },
    /// Limit how much I/O a disk may do, and with it all disks of its group
    ///
    /// A LIMIT is NAME=NUMBER: bps-total, bps-read, bps-write (bytes each second, K, M, G and T are powers of
    /// 1024), iops-total, iops-read, iops-write (operations); each with -max for bursts, and -max-length for
    /// their seconds; iops-size. What is not named is not limited; without any, the disk is as fast as it can
    /// be.
    DiskLimits {
        /// The disk
        id: String,
        /// Its limits
        #[arg(value_parser = values::limit, value_name = "LIMIT")]
        limits: Vec<(String, serde_json::Value)>,
    },
    /// Give a disk another size while the guest uses it
    ///
    /// SIZE is in bytes, or with K, M, G or T behind it (powers of 1024). "now" is for an image or block
    /// device that was grown from outside.
    Resize {
        /// The disk
        id: String,
        /// Its new size, or "now"
        #[arg(value_parser = values::size)]
        size: Size,
        /// The disk may get smaller, and lose what lies behind its end
        #[arg(long)]
        shrink: bool,
    },
    /// Say what a command would do, without doing it
    ///
    /// It takes the options of the command. That of a boot is how many devices there will be, and room for
    /// how many.
    #[command(arg_required_else_help = false)]
    Plan {
        #[command(subcommand)]
        of: Plan,
    },
    /// Compare record and guest, both ways
    Verify {
        /// Mend what is safe to mend, and show what is left
        #[arg(long)]
        mend: bool,
    },
    /// Finish or undo what an agent that died has left
    ///
    /// With --socket by what the guest has, and says what is still waiting for it; every command that may
    /// change the guest does the same, while list, map, verify and plan only look. Without, by the record,
    /// for a guest that is known to be off.
    Settle,
    /// Print what happens, until interrupted, the timeout or QEMU's end
    ///
    /// With --json one object a line.
    Watch {
        /// Also QMP events, as QEMU sends them
        #[arg(long)]
        qmp: bool,
        /// End after so many events
        #[arg(long, value_name = "N", value_parser = values::number::<u32>)]
        count: Option<u32>,
    },
    /// Send a QMP command, and print what it returns
    ///
    /// ARGUMENTS is a JSON object. Commands that would fool the record are refused.
    Qmp {
        /// The command
        command: String,
        /// Its arguments
        arguments: Option<String>,
        /// Send it even if it fools the record
        #[arg(long)]
        force: bool,
        /// Descriptor of this process that goes along (getfd, add-fd)
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
        fd: Option<i32>,
    },
    /// Print the completion for a shell
    Completion {
        /// The shell
        #[arg(value_parser = values::words(&values::SHELLS), value_name = "SHELL")]
        shell: Shell,
    },
}

/// What can be planned.
#[derive(Debug, Subcommand)]
pub(crate) enum Plan {
    /// What add-nic would do
    AddNic {
        #[command(flatten)]
        nic: Box<NicArguments>,
    },
    /// What add-disk would do
    #[command(override_usage = "kvmctl plan add-disk [OPTIONS] [FILE]")]
    AddDisk {
        #[command(flatten)]
        disk: Box<DiskArguments>,
    },
    /// What add-scsi would do
    AddScsi {
        #[command(flatten)]
        scsi: ScsiArguments,
    },
    /// What del would do
    Del {
        /// The device
        id: String,
        #[command(flatten)]
        removal: RemovalArguments,
    },
    /// How full the next boot will be
    Boot {
        /// q35: empty root ports for devices to come (default: 4)
        #[arg(long, value_name = "N", value_parser = values::number::<u32>)]
        spare_ports: Option<u32>,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct ApplyArguments {
    /// The list, or - for standard input
    #[arg(value_hint = ValueHint::FilePath, value_name = "FILE")]
    pub(crate) file: String,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) plan: bool,
    /// NICs and disks that are not in the list stay
    #[arg(long)]
    pub(crate) keep_others: bool,
    /// A device that differs in what cannot be changed is removed, and added anew
    #[arg(long)]
    pub(crate) replace: bool,
    /// Fail rather than record something for the next boot
    #[arg(long)]
    pub(crate) live_only: bool,
    /// Ask the guest to let go of devices, and do not wait for it
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AdoptArguments {
    /// The guest's QMP socket, nobody else connected
    #[arg(value_hint = ValueHint::FilePath, value_name = "QMP")]
    pub(crate) monitor: String,
    /// Where the record goes, which must not exist; without it nothing is written
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "dry_run")]
    pub(crate) output: Option<String>,
    /// Only say what would be recorded
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The guest's name, for people (default: what its -name says)
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// QEMU's process (default: the process that listens at the socket)
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pid: Option<i32>,
    /// Where relative paths of the command begin (default: where the process is)
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    pub(crate) directory: Option<String>,
    /// Slots of pci.0 that are never chosen, counted from 0 (default: 4, or what QEMU has taken)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=32))]
    pub(crate) reserved_slots: Option<u8>,
    /// QEMU and its arguments (default: those of the process)
    #[arg(last = true, value_name = "QEMU ARGUMENT")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct BootArguments {
    /// Only print the command line; nothing is opened for it or changed
    #[arg(long)]
    pub(crate) print: bool,
    /// q35: empty root ports for devices to come (default: 4)
    #[arg(long, value_name = "N", value_parser = values::number::<u32>)]
    pub(crate) spare_ports: Option<u32>,
    /// The guest does not run until it is told so: kvmctl qmp cont
    #[arg(long)]
    pub(crate) paused: bool,
    /// Wait for a migration: tcp:HOST:PORT, unix:PATH, or "defer" for one that is said later
    #[arg(long, value_name = "FROM", value_parser = values::incoming)]
    pub(crate) incoming: Option<values::From>,
    /// The tap of a NIC whose tap its caller opened: the descriptors that kvmctl has of it, one for
    /// each queue
    #[arg(long, value_name = "ID=FD[,FD...]", value_parser = values::tap)]
    pub(crate) tap: Vec<values::GivenTap>,
    /// A secret of a disk: the content of a file, byte by byte; may be repeated
    #[arg(long, value_name = "ID:NAME=FILE", value_parser = values::secret_of)]
    pub(crate) secret: Vec<(String, values::SecretFile)>,
    /// Where QEMU listens for QMP this time, an absolute path; the record keeps its own
    #[arg(long, value_name = "QMP", value_hint = ValueHint::FilePath)]
    pub(crate) monitor: Option<String>,
}

impl From<values::From> for Incoming {
    fn from(from: values::From) -> Self {
        match from {
            values::From::Defer => Self::Defer,
            values::From::Tcp(address) => Self::Tcp(address),
            values::From::Unix(path) => Self::Unix(path),
        }
    }
}
