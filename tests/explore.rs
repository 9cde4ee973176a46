//! Every way in which a few faults can meet a few calls: the agent dies, a connection is cut, QEMU or the
//! host refuses, the guest does something else. Whatever happens, the next agent comes to rest with record,
//! guest and host in agreement.
//!
//! `KVM_HOTPLUG_EXPLORE_DEPTH` says how many faults meet in a run (default: what the scenario says),
//! `KVM_HOTPLUG_EXPLORE_REPLAY` plays one run again and tells what happens.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::indexing_slicing, unreachable_pub)]

#[path = "explore/agent.rs"]
mod agent;
#[path = "explore/batch.rs"]
mod batch;
#[path = "explore/call.rs"]
mod call;
#[path = "explore/choices.rs"]
mod choices;
#[path = "explore/faults.rs"]
mod faults;
#[path = "explore/host.rs"]
mod host;
#[path = "explore/links.rs"]
mod links;
#[path = "explore/rest.rs"]
mod rest;
#[path = "explore/restart.rs"]
mod restart;
#[path = "explore/run.rs"]
mod run;
#[path = "explore/told.rs"]
mod told;
#[path = "explore/world.rs"]
mod world;

use std::time::Instant;

use call::{Call, Want};
use choices::Choices;
use faults::Also;
#[cfg(feature = "planted-faults")]
use kvm_hotplug::planted::{self, Fault};
use run::{Met, Run};
use world::World;

/// Calls, the first so many of them without faults, and what may happen to them beside what may always
/// happen.
#[derive(Clone, Copy)]
struct Scenario {
    name: &'static str,
    calls: &'static [Call],
    calm: usize,
    also: &'static [Also],
    /// How many faults meet in every run of the tests.
    depth: usize,
}

impl Scenario {
    const fn new(name: &'static str, calls: &'static [Call], calm: usize) -> Self {
        Self { name, calls, calm, also: &[], depth: 2 }
    }

    /// With one fault only in every run of the tests: so much may happen that two take too long.
    const fn shallow(self) -> Self {
        Self { depth: 1, ..self }
    }

    fn depth(&self) -> usize {
        std::env::var(DEPTH).map_or(self.depth, |text| text.parse().unwrap())
    }

    const fn with(self, also: &'static [Also]) -> Self {
        Self { also, ..self }
    }
}

const DEPTH: &str = "KVM_HOTPLUG_EXPLORE_DEPTH";
const REPLAY: &str = "KVM_HOTPLUG_EXPLORE_REPLAY";

/// What a run has broken.
struct Broken {
    script: String,
    violations: Vec<String>,
    story: Vec<String>,
}

/// All runs of a scenario, up to the first that breaks something.
fn explore(scenario: &Scenario, mut choices: Choices, tells: bool, once: bool) -> (Met, Option<Broken>) {
    let mut met = Met::default();
    let mut folder = world::folder();
    loop {
        let mut run =
            Run { world: World::new(folder, scenario.also), choices: &mut choices, met: &mut met, tells };
        if run.play(scenario.calls, scenario.calm) && run.world.violations.is_empty() {
            run.close();
            run.converge(scenario.calls.last());
        }
        let violations = run.world.take_violations();
        folder = run.world.into_folder();
        if !violations.is_empty() {
            let (script, story) = (choices.script(), choices.story.clone());
            return (met, Some(Broken { script, violations, story }));
        }
        if once {
            choices.story.iter().for_each(|line| println!("  {line}"));
            return (met, None);
        }
        if !choices.next() {
            return (met, None);
        }
    }
}

/// All runs, and none may break anything.
fn all_is_well(scenario: &Scenario) {
    let name = scenario.name;
    let begin = Instant::now();
    if let Ok(script) = std::env::var(REPLAY) {
        let choices = Choices::of_script(9, &script);
        let (_, broken) = explore(scenario, choices, true, true);
        if let Some(Broken { violations, story, .. }) = broken {
            panic!("{name}:\n  {}\nbroken:\n  {}", story.join("\n  "), violations.join("\n  "));
        }
        return;
    }
    let (met, broken) = explore(scenario, Choices::new(scenario.depth()), false, false);
    let (runs, worlds, short) = (met.runs, met.worlds.len(), met.cut_short);
    println!(
        "{name}: {runs} runs, {worlds} worlds without an agent, {short} met before, {:?}",
        begin.elapsed()
    );
    if let Some(Broken { script, violations, story }) = broken {
        panic!(
            "{name}: after {runs} runs\n  {}\nbroken:\n  {}\nonce more: {REPLAY}={script} cargo test --test explore {name} -- --exact --nocapture",
            story.join("\n  "),
            violations.join("\n  "),
        );
    }
}

const SCENARIOS: [Scenario; 18] = [
    Scenario::new(
        "nic",
        &[Call::AddNic("lan", 1, "br0"), Call::Remove("lan"), Call::AddNic("lan", 2, "br0"), Call::Process],
        0,
    ),
    Scenario::new(
        "disk",
        &[Call::AddDisk("data", "one.img"), Call::Remove("data"), Call::AddDisk("data", "two.img")],
        0,
    ),
    Scenario::new(
        "scsi",
        &[Call::AddScsi("data", "one.img"), Call::Remove("data"), Call::RemoveControllers],
        0,
    ),
    Scenario::new(
        "threaded",
        &[
            Call::AddThreaded("data", "one.img", None),
            Call::Remove("data"),
            Call::AddThreaded("data", "one.img", None),
            Call::Restart,
            Call::Remove("data"),
        ],
        0,
    )
    .shallow(),
    Scenario::new(
        "secret",
        &[Call::AddSecret("data"), Call::Remove("data"), Call::AddSecret("data"), Call::Remove("data")],
        0,
    )
    .shallow(),
    Scenario::new(
        "limited",
        &[
            Call::AddLimited("data", "one.img"),
            Call::AddDisk("more", "two.img"),
            Call::SetLimits("data", 9),
            Call::SetLimits("more", 9),
            Call::Remove("data"),
        ],
        1,
    )
    .shallow(),
    // The object comes with the first, and goes with the last.
    Scenario::new(
        "shared",
        &[
            Call::AddThreaded("data", "one.img", Some("io")),
            Call::AddThreaded("more", "two.img", Some("io")),
            Call::Remove("data"),
            Call::AddThreaded("data", "one.img", Some("io")),
            Call::RemoveBoth("data", "more"),
        ],
        0,
    )
    .shallow(),
    // Its netdev has a chardev, which is made before it.
    Scenario::new(
        "vhost_user",
        &[
            Call::AddVhostUser("lan", 1),
            Call::SetLink("lan", false),
            Call::Remove("lan"),
            Call::AddVhostUser("lan", 2),
            Call::Restart,
            Call::Remove("lan"),
        ],
        0,
    )
    .shallow(),
    Scenario::new("list", &[Call::AddBoth("lan", "data"), Call::RemoveBoth("lan", "data")], 0),
    Scenario::new(
        "changes",
        &[
            Call::AddNic("lan", 1, "br0"),
            Call::AddDisk("data", "one.img"),
            Call::SetLink("lan", false),
            Call::Move("lan", "br1"),
            Call::Limit("lan", 1 << 20),
            Call::Resize("data", 2 << 20),
            Call::Process,
        ],
        2,
    ),
    Scenario::new(
        "medium",
        &[
            Call::AddCd("data", "one.img"),
            Call::ChangeMedium("data", Some("two.img")),
            Call::ChangeMedium("data", None),
            Call::Process,
        ],
        1,
    ),
    Scenario::new(
        "again",
        &[
            Call::AddNic("lan", 1, "br0"),
            Call::AddNic("wan", 3, "br0"),
            Call::Remove("lan"),
            Call::AddNic("lan", 2, "br0"),
            Call::Remove("lan"),
            Call::AddNic("lan", 1, "br0"),
            Call::Process,
        ],
        2,
    ),
    Scenario::new(
        "restart",
        &[
            Call::AddDisk("data", "one.img"),
            Call::Remove("data"),
            Call::AddNic("lan", 1, "br0"),
            Call::SetLink("lan", false),
            Call::Restart,
            Call::Remove("lan"),
        ],
        0,
    )
    .with(&[Also::QemuEnds])
    .shallow(),
    Scenario::new(
        "power",
        &[
            Call::AddNic("lan", 1, "br0"),
            Call::AddDisk("data", "one.img"),
            Call::Remove("lan"),
            Call::Process,
        ],
        0,
    )
    .with(&[Also::PowerFails]),
    Scenario::new(
        "unwaited",
        &[
            Call::AddNicUnwaited("lan", 1, "br0"),
            Call::AddDisk("data", "one.img"),
            Call::SetLink("lan", false),
            Call::RemoveUnwaited("lan"),
            Call::Process,
            Call::Remove("data"),
        ],
        0,
    )
    .with(&[Also::Cancel, Also::Sleep]),
    Scenario::new(
        "monitors",
        &[Call::AddNic("lan", 1, "br0"), Call::Remove("lan"), Call::AddDisk("data", "one.img")],
        0,
    )
    .with(&[Also::OtherMonitor]),
    Scenario::new(
        "apply",
        &[
            Call::Apply(&[Want::Nic("lan", 1, "br0", true)]),
            // An add, and a removal that follows it.
            Call::Apply(&[Want::Disk("data", "one.img")]),
        ],
        1,
    ),
    Scenario::new(
        "apply_changes",
        &[
            Call::Apply(&[Want::Nic("lan", 1, "br0", true), Want::Disk("data", "one.img")]),
            // The link goes down, the NIC moves, and the disk is replaced.
            Call::Apply(&[Want::Nic("lan", 1, "br1", false), Want::Disk("data", "two.img")]),
            Call::Process,
            Call::Apply(&[Want::Nic("lan", 1, "br1", false)]),
        ],
        1,
    )
    .shallow(),
];

fn scenario(name: &str) {
    all_is_well(SCENARIOS.iter().find(|scenario| scenario.name == name).unwrap());
}

#[test]
fn nic() {
    scenario("nic");
}

#[test]
fn disk() {
    scenario("disk");
}

#[test]
fn scsi() {
    scenario("scsi");
}

#[test]
fn list() {
    scenario("list");
}

#[test]
fn changes() {
    scenario("changes");
}

#[test]
fn medium() {
    scenario("medium");
}

#[test]
fn vhost_user() {
    scenario("vhost_user");
}

#[test]
fn again() {
    scenario("again");
}

#[test]
fn restart() {
    scenario("restart");
}

#[test]
fn power() {
    scenario("power");
}

#[test]
fn unwaited() {
    scenario("unwaited");
}

#[test]
fn monitors() {
    scenario("monitors");
}

#[test]
fn threaded() {
    scenario("threaded");
}

#[test]
fn secret() {
    scenario("secret");
}

#[test]
fn limited() {
    scenario("limited");
}

#[test]
fn shared() {
    scenario("shared");
}

#[test]
fn apply() {
    scenario("apply");
}

#[test]
fn apply_changes() {
    scenario("apply_changes");
}

/// One fault at most, of the guest, the host or the agent, leads to each fault of the engine that is planted.
#[cfg(feature = "planted-faults")]
#[test]
fn planted_faults_are_found() {
    if std::env::var_os(REPLAY).is_some() {
        return;
    }
    let mut unseen = Vec::new();
    for fault in Fault::ALL {
        planted::plant(Some(fault));
        let found = (0..=1).flat_map(|depth| SCENARIOS.map(|scenario| (depth, scenario))).find_map(
            |(depth, scenario)| {
                let (met, broken) = explore(&scenario, Choices::new(depth), false, false);
                broken.map(|broken| (scenario.name, depth, met.runs, broken))
            },
        );
        planted::plant(None);
        match found {
            Some((name, depth, runs, broken)) => {
                println!("{fault:?}: {name}, {depth} faults, run {runs}: {}", broken.violations[0]);
            }
            None => unseen.push(fault),
        }
    }
    assert_eq!(unseen, [], "exploration does not see them");
}
