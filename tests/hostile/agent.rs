//! The agent of a script: makes its calls, and checks after each one what no peer may bring about.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kvm_hotplug::Error;
use kvm_hotplug::disk::{DiskSpec, Format, FormatRequest, Secrets};
use kvm_hotplug::guest::{
    DiskRequest, Guest, NewSize, NicRequest, Outcome, Placement, RawCommand, Removal, TapSource,
};
use kvm_hotplug::ids::DeviceId;
use kvm_hotplug::log::{Level, Log, Sink};
use kvm_hotplug::net::bandwidth::Limits;
use kvm_hotplug::net::vhost::VhostMode;
use kvm_hotplug::store::RecordFile;

use super::memory_cost::{Cost, begin_ticking, measure};
use super::script::{Script, Step};
use super::support::fake::{FakeQemu, Greeting, Setup};
use super::support::fixture::Fixture;
use super::support::host;

/// What each call is given.
const TIMEOUT: Duration = Duration::from_millis(30);

/// A call may answer this much after its deadline. What it waits for a processor does not count, and for a
/// disk it does not wait here.
const SLACK: Duration = Duration::from_millis(250);

/// Most memory that one call may take for the moment, whatever the peer says: answers of `MAX_PARSED_MEMORY`
/// (32 MiB), a message of `MAX_MESSAGE` (4 MiB) twice, and room for what is made of them.
pub const MAX_MEMORY: usize = 48 << 20;

/// Time for calls that nothing stands in the way of.
const AMPLE: Duration = Duration::from_secs(60);

/// Lines are put together, so that their making is tested, and thrown away.
struct Nowhere;

impl Sink for Nowhere {
    fn line(&self, _: Level, text: &str) {
        assert!(text.len() < 1 << 20, "a log line of {} bytes", text.len());
    }
}

/// A guest, a peer that plays it, and taps to plug in.
pub struct Scene {
    fixture: Fixture,
    tap: Arc<OwnedFd>,
    guest: Option<Guest>,
}

impl Scene {
    fn new(setup: Setup) -> Self {
        let fixture = Fixture::new(setup);
        let name = format!("ho{:x}x{}", std::process::id(), host::unique());
        let tap = host::tap(&name, 1).remove(0);
        for name in ["d0", "d1", "any"] {
            fixture.disk(name);
        }
        Self { fixture, tap, guest: None }
    }

    /// With a peer that behaves.
    pub fn calm() -> Self {
        Self::with(Setup::default())
    }

    /// With a peer that is like this and behaves.
    pub fn with(setup: Setup) -> Self {
        let mut scene = Self::new(setup);
        scene.guest = Some(open(&scene.fixture.runtime, scene.fixture.qemu.path(), AMPLE).unwrap());
        scene
    }

    pub fn qemu(&self) -> &FakeQemu {
        &self.fixture.qemu
    }

    pub fn guest(&self) -> &Guest {
        self.guest.as_ref().unwrap()
    }

    pub fn add_disk(&self, id: &'static str) {
        self.fixture.disk(id);
        self.guest().add_disk(&self.disk(Some(id)), AMPLE).unwrap();
    }

    /// A NIC over a tap that the library makes.
    pub fn add_nic(&self, id: &'static str) {
        let tap = TapSource::Open { name: None, owner: None, netns: None };
        self.guest().add_nic(NicRequest { tap, ..self.nic(Some(id)) }, AMPLE).unwrap();
    }

    pub fn unplug(&self, id: &str, timeout: Duration) -> Result<Outcome, Error> {
        self.guest().unplug(&removal(id, true), timeout)
    }

    /// The peer behaves again, and has a d0 and nothing else, as the record says too.
    pub fn restore(&self) {
        self.fixture.qemu.clear_faults();
        self.fixture
            .qemu
            .model(|model| model.unplug_behaviour = super::support::fake::UnplugBehaviour::AtOnce);
        self.fixture.qemu.resume();
        self.fixture.qemu.hang_up();
        self.guest().repair(AMPLE).expect("mending");
        while self.guest().next_event().unwrap().is_some() {}
        if self.guest().find("d0").unwrap().is_none() {
            self.add_disk("d0");
        }
        self.fixture.qemu.take_violations();
    }

    fn disk(&self, id: Option<&'static str>) -> DiskRequest {
        let path = self.fixture.dir.path().join(id.unwrap_or("any"));
        let spec = DiskSpec::new(&path, Format::Raw);
        DiskRequest {
            placement: placement(id),
            spec,
            format: FormatRequest::Raw,
            secrets: Secrets::default(),
        }
    }

    fn nic(&self, id: Option<&'static str>) -> NicRequest {
        NicRequest {
            placement: placement(id),
            mac: None,
            queues: 1,
            vhost: VhostMode::Off,
            mtu: None,
            bridge: None,
            tap: TapSource::Given(vec![self.tap.try_clone().unwrap().into()]),
            boot_index: None,
            link_down: false,
            limits: Limits::default(),
            port: None,
            model: "virtio-net-pci".into(),
        }
    }

    /// The agent ends; whatever happened, what it leaves behind can be loaded.
    fn end(&mut self) {
        self.guest = None;
        let runtime =
            RecordFile::load(&self.fixture.runtime).expect("the record and its journal can be loaded");
        runtime.record().check().unwrap();
        drop(runtime);
        let files: Vec<String> = self.fixture.snapshot().files;
        let expected = ["any", "d0", "d1", "web1.runtime", "web1.runtime.journal"];
        assert!(files.iter().all(|name| expected.contains(&name.as_str())), "{files:?}");
    }

    /// The next agent comes.
    fn begin(&mut self) {
        let (runtime, socket) = (self.fixture.runtime.clone(), self.fixture.qemu.path().to_owned());
        self.guest = call("open", TIMEOUT, || open(&runtime, &socket, TIMEOUT)).ok();
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Unasked(blob) => return self.fixture.qemu.say(blob.0.clone()),
            Step::HangUp => return self.fixture.qemu.hang_up(),
            Step::NewAgent => self.end(),
            _ => {}
        }
        if self.guest.is_none() {
            self.begin();
        }
        let Some(guest) = &self.guest else { return };
        let name = format!("{step:?}");
        match step {
            Step::AddNic(id, wait) => {
                let mut nic = self.nic(*id);
                nic.placement.no_wait = !wait;
                drop(call(&name, TIMEOUT, || guest.add_nic(nic, TIMEOUT)));
            }
            Step::AddDisk(id, wait) => {
                let mut disk = self.disk(*id);
                disk.placement.no_wait = !wait;
                drop(call(&name, TIMEOUT, || guest.add_disk(&disk, TIMEOUT)));
            }
            Step::PlanDisk => drop(call(&name, TIMEOUT, || guest.plan_disk(&self.disk(None), TIMEOUT))),
            Step::Unplug(id, wait) => {
                drop(call(&name, TIMEOUT, || guest.unplug(&removal(id, *wait), TIMEOUT)));
            }
            Step::PlanUnplug(id) => {
                drop(call(&name, TIMEOUT, || guest.plan_removal(&removal(id, true), TIMEOUT)));
            }
            Step::Process => drop(call(&name, TIMEOUT, || guest.process(TIMEOUT))),
            Step::SlotMap => drop(call(&name, TIMEOUT, || guest.slot_map(TIMEOUT))),
            Step::Verify => drop(call(&name, TIMEOUT, || guest.verify(TIMEOUT))),
            Step::Mend => drop(call(&name, TIMEOUT, || guest.repair(TIMEOUT))),
            Step::SetLink(id, up) => drop(call(&name, TIMEOUT, || guest.set_link(id, *up, TIMEOUT))),
            Step::Resize(id, bytes) => {
                let size = NewSize { bytes: *bytes, may_shrink: true };
                drop(call(&name, TIMEOUT, || guest.resize_disk(id, size, TIMEOUT)));
            }
            Step::Describe => drop(call(&name, TIMEOUT, || guest.describe(None, TIMEOUT))),
            Step::Ask(what) => drop(call(&name, TIMEOUT, || guest.qmp(ask(what), TIMEOUT))),
            Step::Watch(on) => drop(call(&name, TIMEOUT, || guest.forward_qmp_events(*on))),
            Step::Events | Step::NewAgent | Step::Unasked(_) | Step::HangUp => {
                while call(&name, TIMEOUT, || guest.next_event()).unwrap().is_some() {}
            }
        }
        drop(call("list", TIMEOUT, || guest.list()).unwrap());
    }

    /// The peer is itself again, and the next agent has nothing to complain about.
    fn recover(&mut self) {
        let qemu = &self.fixture.qemu;
        qemu.clear_faults();
        qemu.greet(Greeting::default());
        qemu.resume();
        qemu.hang_up();
        // A QEMU older than 9.1 keeps the fdsets that it is told to remove until its guest runs. One that has
        // hung may have read a "stop" only now.
        qemu.model(|model| model.run_state = "running".into());
        let guest = open(&self.fixture.runtime, qemu.path(), AMPLE).expect("a QEMU that behaves again");
        guest.repair(AMPLE).expect("mending");
        let left = guest.verify(AMPLE).expect("comparing");
        assert!(left.iter().all(|difference| !difference.what.is_repairable()), "{left:?}");
        assert!(guest.process(AMPLE).is_ok());
    }
}

/// Plays a script from beginning to end.
pub fn play(script: &Script) {
    // It has a descriptor of its own.
    begin_ticking();
    let before = host::open_fds();
    let setup = Setup { machine: script.machine, numbered: script.numbered, ..Setup::default() };
    let mut scene = Scene::new(setup.clone());
    scene.fixture.qemu.greet(script.greeting.greeting(setup.version));
    for (command, skip, said) in &script.faults {
        scene.fixture.qemu.fault(command, *skip, said.0.clone());
    }
    scene.begin();
    for step in &script.steps {
        scene.step(step);
    }
    scene.end();
    scene.recover();
    scene.end();
    // Lies make the agent do to QEMU what it would not do to one that says the truth.
    scene.fixture.qemu.take_violations();
    drop(scene);
    assert_eq!(host::open_fds(), before, "descriptors");
}

/// One call of the agent, within its bounds.
fn call<T>(name: &str, timeout: Duration, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let (result, cost) = measure(work);
    let Cost { peak, kept, queued, .. } = cost;
    let took = cost.own_time();
    let error = result.as_ref().err();
    println!("  {name}: {took:?}, and {queued:?} in a queue, {peak} bytes, {kept} kept, {error:?}");
    assert!(peak < MAX_MEMORY, "{name} took {peak} bytes");
    assert!(took < timeout + SLACK, "{name} took {took:?}, with a deadline of {timeout:?}");
    if let Err(error) = &result {
        let text = error.to_string();
        assert!(text.len() < 1 << 20, "{name}: an error text of {} bytes", text.len());
        assert!(!text.contains(char::is_control), "{name}: {text:?}");
        assert!(error.errno() > 0);
    }
    result
}

fn open(runtime: &Path, socket: &Path, timeout: Duration) -> Result<Guest, Error> {
    let runtime = Arc::new(Mutex::new(RecordFile::load(runtime)?));
    Guest::open(runtime, socket, Log::new(Level::Debug, Arc::new(Nowhere)), timeout)
}

fn placement(id: Option<&str>) -> Placement {
    Placement { id: id.map(|id| DeviceId::parse(id).unwrap()), ..Placement::default() }
}

fn ask(what: &str) -> RawCommand {
    RawCommand { name: what.to_owned(), arguments: serde_json::Map::new(), fd: None, force: false }
}

fn removal(id: &str, wait: bool) -> Removal {
    Removal { id: id.into(), kind: None, live_only: false, wait, leave_overlay: false }
}
