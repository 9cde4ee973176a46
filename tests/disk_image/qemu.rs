//! A QEMU of this test's own, with a QMP client that knows no more than it takes to plug a disk.

use std::fs::File;
use std::io::{BufRead, BufReader, IoSlice, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kvm_hotplug::disk::{DiskSpec, Image, LayerRef, image, node};
use kvm_hotplug::ids::{BusName, DeviceId, PciAddress, Slot};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);

/// A directory whose file system takes O_DIRECT, which /tmp need not.
pub(crate) struct Dir(tempfile::TempDir);

impl Dir {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir_in("/var/tmp").unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn run(&self, program: &str, args: &str) -> String {
        let output = Command::new(program).current_dir(&self.0).args(args.split(' ')).output();
        let output = output.unwrap_or_else(|error| panic!("{program} is needed: {error}"));
        assert!(output.status.success(), "{program} {args}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

pub(crate) struct Qemu {
    child: Child,
    reader: BufReader<UnixStream>,
    sets: u32,
    output: PathBuf,
    reads_and_writes: usize,
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The options that put a QEMU into a chroot as another user: they have changed names in its course.
pub(crate) fn jail_options(jail: &str) -> Vec<String> {
    let help =
        Command::new("qemu-system-x86_64").arg("--help").output().expect("qemu-system-x86_64 is needed");
    let old = String::from_utf8_lossy(&help.stdout).contains("-runas");
    let options = match old {
        true => vec!["-runas", "nobody", "-chroot", jail].into_iter().map(str::to_owned).collect(),
        false => vec!["-run-with".to_owned(), format!("user=nobody,chroot={jail}")],
    };
    ["-sandbox".to_owned(), "on".to_owned()].into_iter().chain(options).collect()
}

impl Qemu {
    pub(crate) fn start(dir: &Dir, extra: &[&str]) -> Self {
        let (socket, output) = (dir.path("qmp"), dir.path("output"));
        let log = File::create(&output).unwrap();
        let child = Command::new("qemu-system-x86_64")
            .args(["-S", "-nodefaults", "-display", "none", "-machine", "pc", "-accel", "tcg", "-qmp"])
            .arg(format!("unix:{},server=on,wait=off", socket.display()))
            .args(extra)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("qemu-system-x86_64 is needed");
        // From here on the child has an owner that ends it.
        let (placeholder, _) = UnixStream::pair().unwrap();
        let reader = BufReader::new(placeholder);
        let mut qemu = Self { child, reader, sets: 0, output, reads_and_writes: 0 };
        let stream = qemu.connect(&socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        qemu.reader = BufReader::new(stream);
        assert!(qemu.read()["QMP"].is_object());
        qemu.ask("qmp_capabilities", json!({}));
        qemu
    }

    fn connect(&mut self, socket: &PathBuf) -> UnixStream {
        let start = Instant::now();
        loop {
            if let Ok(stream) = UnixStream::connect(socket) {
                return stream;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && start.elapsed() < PATIENCE, "QEMU: {ended:?} {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap()
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("QEMU is gone: {}", self.log()))
    }

    fn reply(&mut self) -> Result<Value, Value> {
        loop {
            let mut message = self.read();
            if let Some(value) = message.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = message.get_mut("error") {
                return Err(error.take());
            }
        }
    }

    pub(crate) fn try_ask(&mut self, command: &str, arguments: Value) -> Result<Value, Value> {
        let text = json!({"execute": command, "arguments": arguments}).to_string();
        self.reader.get_mut().write_all(text.as_bytes()).unwrap();
        self.reply()
    }

    pub(crate) fn ask(&mut self, command: &str, arguments: Value) -> Value {
        let text = arguments.to_string();
        self.try_ask(command, arguments).unwrap_or_else(|error| panic!("{command} {text}: {error}"))
    }

    fn add_fd(&mut self, id: &DeviceId, fd: BorrowedFd<'_>) -> String {
        self.sets += 1;
        let arguments = json!({"fdset-id": self.sets, "opaque": node::fdset_tag(id)});
        let text = json!({"execute": "add-fd", "arguments": arguments}).to_string();
        let fds = [fd.as_raw_fd()];
        let socket = self.reader.get_ref().as_raw_fd();
        let message = [IoSlice::new(text.as_bytes())];
        let sent =
            sendmsg::<()>(socket, &message, &[ControlMessage::ScmRights(&fds)], MsgFlags::MSG_NOSIGNAL, None);
        assert_eq!(sent.unwrap(), text.len());
        self.reply().unwrap();
        format!("/dev/fdset/{}", self.sets)
    }

    /// Opens the image of `spec` and plugs it into that slot of `pci.0`.
    pub(crate) fn plug(&mut self, slot: u8, spec: &DiskSpec) -> (DeviceId, Vec<LayerRef>) {
        let image = image::open(spec).unwrap();
        self.plug_image(slot, spec, &image)
    }

    pub(crate) fn plug_image(
        &mut self,
        slot: u8,
        spec: &DiskSpec,
        image: &Image,
    ) -> (DeviceId, Vec<LayerRef>) {
        use std::os::fd::AsFd;
        let id = DeviceId::parse(&format!("disk-pci-{slot}")).unwrap();
        let mut refs = Vec::new();
        for layer in &image.layers {
            let filename = self.add_fd(&id, layer.fd.as_fd());
            refs.push(LayerRef { filename, format: layer.format, kind: layer.kind });
        }
        self.assert_tagged(&id, refs.len());
        self.ask("blockdev-add", node::block_node(&id, spec, &refs).unwrap().into());
        let address = PciAddress { bus: BusName::parse("pci.0").unwrap(), slot: Slot::new(slot).unwrap() };
        self.ask("device_add", node::device_args(&id, &address.into(), spec).into());
        (id, refs)
    }

    fn assert_tagged(&mut self, id: &DeviceId, count: usize) {
        let sets = self.ask("query-fdsets", json!({}));
        let fds = sets.as_array().unwrap().iter().flat_map(|set| set["fds"].as_array().unwrap());
        let tags = fds.filter_map(|fd| fd["opaque"].as_str());
        assert_eq!(
            tags.filter(|tag| node::fdset_tag_owner(tag).as_ref() == Some(id)).count(),
            count,
            "{sets}"
        );
    }

    /// Reads, writes or discards through the node; [`Qemu::finish`] looks at how it went.
    pub(crate) fn io(&mut self, id: &str, command: &str) {
        self.reads_and_writes += 1;
        let line = format!("qemu-io {id} \"{command}\"");
        let answer = self.ask("human-monitor-command", json!({"command-line": line}));
        assert_eq!(answer, "", "{line}");
    }

    /// Ends QEMU in good order, so that what its I/O commands printed is there.
    pub(crate) fn finish(mut self) {
        self.ask("quit", json!({}));
        self.child.wait().unwrap();
        let log = self.log();
        let done = log.matches(" bytes at offset ").count();
        assert!(done == self.reads_and_writes && !log.contains("failed"), "{log}");
    }
}
