//! The QMP client against scripts.

// The lints' exception for tests stops at the functions marked as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kvm_hotplug::deadline::{Cancel, Deadline};
use kvm_hotplug::qmp::{Client, Command, MAX_DEPTH, MAX_MESSAGE, Queued};
use kvm_hotplug::{Error, ErrorKind};
use serde_json::{Map, Value, json};
use support::fake::{Act, FakeQemu, Greeting, Setup, deleted};
use support::host;

const VERSION: (u32, u32, u32) = (7, 2, 22);

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn ample() -> Deadline {
    Deadline::after(ms(10_000))
}

fn fake() -> FakeQemu {
    FakeQemu::start(Setup::default())
}

fn connect(qemu: &FakeQemu) -> Client {
    Client::connect(qemu.path(), &ample()).unwrap()
}

fn status() -> Command {
    Command::with("query-status", &[])
}

fn ask(monitor: &mut Client) -> Result<Value, Error> {
    monitor.execute(&status(), &ample())
}

fn greeted_with(pieces: Vec<(Duration, Vec<u8>)>) -> Client {
    let qemu = fake();
    qemu.greet(Greeting::pieces(pieces));
    let mut monitor = connect(&qemu);
    assert_eq!(monitor.version().to_string(), "7.2.22");
    assert_eq!(ask(&mut monitor).unwrap()["status"], "running");
    monitor
}

#[test]
fn a_greeting_may_be_split_anywhere() {
    let text = Greeting::text(VERSION);
    let qemu = fake();
    for cut in 0..=text.len() {
        let (head, tail) = text.split_at(cut);
        qemu.greet(Greeting::pieces([(ms(0), head.to_vec()), (ms(2), tail.to_vec())]));
        assert_eq!(connect(&qemu).version().minor, 2, "cut at {cut}");
    }
}

#[test]
fn a_greeting_may_come_late_and_behind_events() {
    let event = b"{\"event\":\"STOP\",\"data\":{}}\r\n".to_vec();
    let mut monitor = greeted_with(vec![(ms(0), event.clone()), (ms(150), Greeting::text(VERSION))]);
    let Some(Queued::Event(kept)) = monitor.next_event() else { panic!("the event was dropped") };
    assert_eq!(kept.name, "STOP");
    let mut all = event.repeat(3);
    all.extend(Greeting::text(VERSION));
    let mut monitor = greeted_with(vec![(ms(0), all)]);
    assert_eq!(std::iter::from_fn(|| monitor.next_event()).count(), 3);
}

#[test]
fn pretty_output_is_understood() {
    let text: Value = serde_json::from_slice(&Greeting::text(VERSION)).unwrap();
    let pretty = serde_json::to_string_pretty(&text).unwrap().replace('\n', "\r\n");
    greeted_with(vec![(ms(0), pretty.into_bytes())]);
}

/// With an id, because the answers before that one are another client's; those behind it need none.
#[test]
fn the_capabilities_go_along_with_the_first_commands() {
    let qemu = fake();
    let mut monitor = connect(&qemu);
    let commands = [Command::with("query-pci", &[]), status(), Command::with("nonsense", &[])];
    let batch = monitor.run(&commands, &ample());
    assert!(batch.failure.is_none());
    let replies: Vec<_> = batch.replies.into_iter().map(Option::unwrap).collect();
    assert!(replies[0].as_ref().unwrap().is_array());
    assert_eq!(replies[1].as_ref().unwrap()["status"], "running");
    assert_eq!(replies[2].as_ref().unwrap_err().qmp_class(), Some("CommandNotFound"));
    assert_eq!(monitor.counters().round_trips, 1);
    let lengths: Vec<usize> = qemu.take_seen().iter().map(|seen| seen.bytes).collect();
    let plain = |name: &str| "{\"execute\":\"\"}".len() + name.len();
    assert_eq!(lengths[1..], ["query-pci", "query-status", "nonsense"].map(plain));
    assert!(lengths[0] > plain("qmp_capabilities") + ",\"id\":".len(), "{lengths:?}");
}

/// Asks until an answer has missed its deadline. A test that does not get the processor finds it in time.
fn late_answer(qemu: &FakeQemu, monitor: &mut Client, act: Act) -> Error {
    let mut ask = || {
        qemu.fault("query-status", 0, act.clone());
        monitor.execute(&status(), &Deadline::after(ms(30))).err()
    };
    (0..50).find_map(|_| ask()).expect("no answer was late")
}

#[test]
fn a_late_answer_is_not_the_next_commands() {
    let qemu = fake();
    let mut monitor = connect(&qemu);
    let error = late_answer(&qemu, &mut monitor, Act::AnswerLate(ms(120)));
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(!monitor.is_broken());
    qemu.model(|model| model.run_state = "paused".into());
    assert_eq!(ask(&mut monitor).unwrap()["status"], "paused");
    let patience = Instant::now() + ms(5000);
    while monitor.counters().stray_replies == 0 && Instant::now() < patience {
        std::thread::sleep(ms(10));
        monitor.read_all().unwrap();
    }
    assert_eq!(monitor.counters().stray_replies, 1);
}

/// QEMU gives the answer to what it was doing when its client died to the next client.
#[test]
fn an_answer_to_the_client_before_is_not_ours() {
    let answer = |id| format!("{{\"return\":{{\"status\":\"another\"}},\"id\":{id}}}\r\n");
    let stale: String = (0..9).map(answer).collect();
    let monitor = greeted_with(vec![(ms(0), [Greeting::text(VERSION), stale.into_bytes()].concat())]);
    assert_eq!(monitor.counters().stray_replies, 9);
}

#[test]
fn doubled_and_unknown_answers_are_dropped() {
    let qemu = fake();
    let mut monitor = connect(&qemu);
    qemu.fault("query-status", 0, Act::AnswerTwice);
    assert!(ask(&mut monitor).is_ok());
    let stray =
        b"{\"return\":{\"status\":\"x\"},\"id\":9999}\n{\"return\":{}}\n{\"return\":1,\"id\":\"3\"}\n"
            .to_vec();
    qemu.fault("query-status", 0, Act::Around(stray, Vec::new()));
    assert_eq!(ask(&mut monitor).unwrap()["status"], "running");
    assert_eq!(monitor.counters().stray_replies, 4);
    qemu.fault("query-status", 0, Act::AnswerWithId(json!(77)));
    let error = monitor.execute(&status(), &Deadline::after(ms(60))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "an answer to another id is no answer");
    assert!(ask(&mut monitor).is_ok());
}

/// Found by fuzzing.
#[test]
fn garbage_after_the_last_answer_does_not_take_it_back() {
    let qemu = fake();
    let mut monitor = connect(&qemu);
    qemu.fault("query-status", 0, Act::Around(Vec::new(), b"\xc9".to_vec()));
    let batch = monitor.run(&[status()], &ample());
    assert!(matches!(batch.replies[..], [Some(Ok(_))]), "{:?}", batch.failure);
    assert_eq!(
        ask(&mut monitor).unwrap_err().errno(),
        libc::ECONNRESET,
        "but the connection is of no more use"
    );
    assert!(monitor.is_broken());
}

/// QEMU answers in order; ids are for those that do not.
#[test]
fn commands_have_ids_only_after_an_answer_went_astray() {
    let (plain, numbered) =
        ("{\"execute\":\"query-status\"}".len(), "{\"execute\":\"query-status\",\"id\":N}".len());
    let lengths = |qemu: &FakeQemu, monitor: &mut Client| -> Vec<usize> {
        qemu.take_seen();
        let batch = monitor.run(&[status(), status(), status()], &ample());
        assert!(batch.replies.iter().all(|reply| matches!(reply, Some(Ok(_)))));
        qemu.take_seen().iter().map(|seen| seen.bytes).collect()
    };
    for act in [Act::LoseAnswer, Act::AnswerTwice, Act::AnswerWithId(json!(5)), Act::AnswerLate(ms(60))] {
        let qemu = fake();
        let mut monitor = connect(&qemu);
        assert!(ask(&mut monitor).is_ok());
        assert_eq!(lengths(&qemu, &mut monitor), [plain; 3]);
        match act {
            Act::AnswerLate(_) => drop(late_answer(&qemu, &mut monitor, act.clone())),
            _ => {
                qemu.fault("query-status", 0, act.clone());
                let _ = monitor.execute(&status(), &Deadline::after(ms(30)));
            }
        }
        qemu.settle();
        assert_eq!(lengths(&qemu, &mut monitor), [numbered; 3], "{act:?}");
        qemu.fault("query-status", 0, Act::AnswerLate(ms(50)));
        qemu.model(|model| model.run_state = "paused".into());
        let batch = monitor.run(&[status(), Command::with("query-pci", &[])], &ample());
        let replies: Vec<Value> = batch.replies.into_iter().map(|reply| reply.unwrap().unwrap()).collect();
        assert!(
            replies[0]["status"] == "paused" && replies[1].is_array(),
            "to their own command again: {act:?}"
        );
    }
}

#[test]
fn answers_without_ids_go_to_their_commands_in_order() {
    let qemu = fake();
    let mut monitor = connect(&qemu);
    assert!(ask(&mut monitor).is_ok());
    let commands = [Command::with("query-pci", &[]), Command::with("nonsense", &[]), status()];
    let batch = monitor.run(&commands, &ample());
    let replies: Vec<_> = batch.replies.into_iter().map(Option::unwrap).collect();
    assert!(replies[0].as_ref().unwrap().is_array());
    assert_eq!(replies[1].as_ref().unwrap_err().qmp_class(), Some("CommandNotFound"));
    assert_eq!(replies[2].as_ref().unwrap()["status"], "running");
    qemu.fault("nonsense", 0, Act::LoseAnswer);
    let batch = monitor.run(&commands, &Deadline::after(ms(60)));
    assert_eq!(batch.failure.unwrap().kind(), ErrorKind::Timeout, "one is missing, whichever it is");
    assert_eq!(monitor.counters().stray_replies, 0);
}

#[test]
fn a_monitor_that_refuses_the_capabilities_is_of_no_use() {
    let qemu = fake();
    qemu.fault("qmp_capabilities", 0, Act::refuse("not today"));
    let mut monitor = connect(&qemu);
    let error = ask(&mut monitor).unwrap_err();
    assert_eq!((error.qmp_desc(), error.step()), (Some("not today"), Some("qmp_capabilities")), "{error}");
    assert!(monitor.is_broken());
    drop(monitor);
    let mut monitor = connect(&qemu);
    qemu.fault("qmp_capabilities", 0, Act::LoseAnswer);
    let error = monitor.execute(&status(), &Deadline::after(ms(60))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(monitor.is_broken(), "nobody knows which mode it is in");
}

#[test]
fn the_client_before_may_have_negotiated_for_us() {
    let qemu = fake();
    let words = "Capabilities negotiation is already complete, command ignored";
    qemu.fault("qmp_capabilities", 0, Act::RefuseAfter(words.into()));
    let mut monitor = connect(&qemu);
    assert_eq!(ask(&mut monitor).unwrap()["status"], "running");
    assert!(!monitor.is_broken());
}

#[test]
fn events_between_answers_are_kept_in_order() {
    let qemu = fake();
    let mut monitor = connect(&qemu);
    let events = |from: usize| -> Vec<u8> {
        (from..from + 3).flat_map(|n| format!("{{\"event\":\"E{n}\"}}\r\n").into_bytes()).collect()
    };
    qemu.fault("query-status", 0, Act::Around(events(0), events(3)));
    assert!(ask(&mut monitor).is_ok());
    qemu.emit("DEVICE_DELETED", deleted("nic-pci-4"));
    qemu.settle();
    monitor.read_all().unwrap();
    let names: Vec<String> = std::iter::from_fn(|| monitor.next_event())
        .map(|kept| match kept {
            Queued::Event(event) => event.name,
            Queued::Lost(count) => format!("lost {count}"),
        })
        .collect();
    assert_eq!(names, ["E0", "E1", "E2", "E3", "E4", "E5", "DEVICE_DELETED"]);
}

#[test]
fn a_flood_of_events_is_bounded_and_says_so() {
    let qemu = fake();
    let mut monitor = connect(&qemu);
    let flood = b"{\"event\":\"STOP\",\"data\":{}}\r\n".repeat(5000);
    qemu.fault("query-status", 0, Act::Around(flood, Vec::new()));
    assert!(ask(&mut monitor).is_ok(), "the answer behind the flood is found");
    let mut kept = 0u64;
    let mut lost = 0;
    while let Some(next) = monitor.next_event() {
        match next {
            Queued::Event(_) => kept += 1,
            Queued::Lost(count) => lost += count,
        }
    }
    assert_eq!(kept + lost, 5000);
    assert!((1..=1024).contains(&kept), "{kept} kept");
}

#[test]
fn each_descriptor_rides_on_its_own_command() {
    let qemu = fake();
    let mut monitor = connect(&qemu);
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<File> = (0..6).map(|n| File::create(dir.path().join(n.to_string())).unwrap()).collect();
    let names: Vec<String> = (0..files.len()).map(|n| format!("f{n}")).collect();
    assert!(ask(&mut monitor).is_ok());
    let mut commands = vec![status()];
    for (file, name) in files.iter().zip(&names) {
        commands.push(
            Command::with("getfd", &[("fdname", name)])
                .carrying(OwnedFd::from(file.try_clone().unwrap()).into()),
        );
        commands.push(status());
    }
    qemu.take_seen();
    let batch = monitor.run(&commands, &ample());
    assert!(batch.replies.iter().all(|reply| matches!(reply, Some(Ok(_)))), "{batch:?}");
    let seen = qemu.take_seen();
    assert_eq!(seen.len(), commands.len());
    for seen in seen {
        assert_eq!(seen.fds, usize::from(seen.name == "getfd"), "{seen:?}");
    }
    // The fake has checked the byte each came with; here, that it is the right file.
    let held = qemu.model(|model| {
        let link = |name: &String| {
            std::fs::read_link(format!("/proc/self/fd/{}", model.monitors[0].fds[name].number)).unwrap()
        };
        names.iter().map(link).collect::<Vec<_>>()
    });
    let expected: Vec<_> = (0..files.len()).map(|n| dir.path().join(n.to_string())).collect();
    assert_eq!(held, expected);
}

#[test]
fn a_short_write_is_finished_without_the_descriptor() {
    let qemu = fake();
    let mut monitor = connect(&qemu);
    // More than any socket buffer: the write stops in the middle of a command that carries a descriptor.
    let padding = "x".repeat(600_000);
    let file = File::open("/dev/null").unwrap();
    let big = |name: &'static str| {
        let mut arguments = Map::new();
        arguments.insert("fdname".into(), name.into());
        arguments.insert("padding".into(), padding.clone().into());
        Command::new("getfd", arguments).carrying(OwnedFd::from(file.try_clone().unwrap()).into())
    };
    qemu.fault("getfd", 0, Act::Stall(ms(50)));
    let batch = monitor.run(&[big("a"), big("b"), status()], &ample());
    assert!(batch.replies.iter().all(|reply| matches!(reply, Some(Ok(_)))), "{:?}", batch.failure);
    let fds: Vec<usize> = qemu.take_seen().iter().skip(1).map(|seen| seen.fds).collect();
    assert_eq!(fds, [1, 1, 0]);
    assert_eq!(qemu.model(|model| model.monitors[0].fds.len()), 2);
}

#[test]
fn half_a_command_at_the_deadline_breaks_the_connection() {
    let qemu = fake();
    let mut monitor = connect(&qemu);
    qemu.fault("query-status", 0, Act::HangBefore);
    assert_eq!(monitor.execute(&status(), &Deadline::after(ms(30))).unwrap_err().kind(), ErrorKind::Timeout);
    let mut arguments = Map::new();
    arguments.insert("padding".into(), "x".repeat(2_000_000).into());
    let error = monitor.execute(&Command::new("frob", arguments), &Deadline::after(ms(60))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(monitor.is_broken(), "what comes next would be read as the rest of that command");
    assert_eq!(ask(&mut monitor).unwrap_err().kind(), ErrorKind::MonitorLost);
}

#[test]
fn answers_of_any_size_up_to_the_cap() {
    let qemu = fake();
    let mut monitor = connect(&qemu);
    assert!(ask(&mut monitor).is_ok(), "from here on, commands have no ids");
    for size in [0, 1, 4095, 4096, 16384, 65536, 1 << 20, MAX_MESSAGE - 64] {
        let text = format!("{{\"return\":\"{}\"}}\r\n", "y".repeat(size));
        qemu.fault("query-status", 0, Act::Instead(text.into_bytes()));
        assert_eq!(ask(&mut monitor).unwrap().as_str().map(str::len), Some(size));
    }
    qemu.fault(
        "query-status",
        0,
        Act::Instead(format!("{{\"return\":\"{}", "y".repeat(MAX_MESSAGE)).into_bytes()),
    );
    let error = ask(&mut monitor).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.message().contains("bytes"), "{error}");
    assert!(monitor.is_broken());
}

#[test]
fn nesting_has_a_cap() {
    let qemu = fake();
    let mut monitor = connect(&qemu);
    let nested =
        |depth: usize| format!("{{\"return\":{}1{}}}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
    qemu.fault("query-status", 0, Act::Instead(nested(MAX_DEPTH - 1)));
    assert!(ask(&mut monitor).is_ok());
    qemu.fault("query-status", 0, Act::Instead(nested(MAX_DEPTH)));
    let error = ask(&mut monitor).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.message().contains("nested"), "{error}");
}

#[test]
fn garbage_is_a_protocol_error() {
    for garbage in
        ["HTTP/1.1 400 Bad Request\r\n", "{\"return\":}", "[]", "{}", "{\"event\":\"\u{1}\"}", "\0"]
    {
        let qemu = fake();
        let mut monitor = connect(&qemu);
        qemu.fault("query-status", 0, Act::Instead(garbage.as_bytes().to_vec()));
        assert_eq!(ask(&mut monitor).unwrap_err().kind(), ErrorKind::Protocol, "{garbage:?}");
        qemu.greet(Greeting::bytes(garbage));
        drop(monitor);
        let error = Client::connect(qemu.path(), &ample()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{garbage:?} as a greeting");
    }
}

#[test]
fn the_ways_a_conversation_ends_are_told_apart() {
    let qemu = fake();
    for (act, kind) in [
        (Act::refuse("no"), ErrorKind::Qmp),
        (Act::CloseBefore, ErrorKind::MonitorLost),
        (Act::CloseAfter, ErrorKind::MonitorLost),
        (Act::LoseAnswer, ErrorKind::Timeout),
        (Act::Instead(b"?".to_vec()), ErrorKind::Protocol),
    ] {
        let mut monitor = connect(&qemu);
        qemu.fault("query-status", 0, act.clone());
        let error = monitor.execute(&status(), &Deadline::after(ms(300))).unwrap_err();
        assert_eq!(error.kind(), kind, "{act:?}: {error}");
        assert_eq!(error.step(), Some("query-status"));
        let lost = matches!(kind, ErrorKind::MonitorLost | ErrorKind::Protocol);
        assert_eq!(monitor.is_broken(), lost, "{act:?}");
    }
    let nowhere = Client::connect(Path::new("/nonexistent/qmp"), &ample()).unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::NotFound);
    let path = qemu.path().to_owned();
    let stale = tempfile::tempdir().unwrap();
    let stale = stale.path().join("qmp");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    assert_eq!(Client::connect(&stale, &ample()).unwrap_err().errno(), libc::ECONNREFUSED);
    let long = path.with_file_name("x".repeat(120));
    assert_eq!(Client::connect(&long, &ample()).unwrap_err().errno(), libc::ENAMETOOLONG);
}

#[test]
fn events_read_before_the_end_are_not_lost_with_it() {
    let qemu = fake();
    let mut monitor = connect(&qemu);
    qemu.emit("DEVICE_DELETED", deleted("d"));
    qemu.settle();
    qemu.hang_up();
    assert_eq!(ask(&mut monitor).unwrap_err().kind(), ErrorKind::MonitorLost);
    assert!(matches!(monitor.next_event(), Some(Queued::Event(event)) if event.text("device") == Some("d")));
}

#[test]
fn a_monitor_that_serves_another_client_is_busy() {
    let qemu = fake();
    let first = connect(&qemu);
    let start = Instant::now();
    let error = Client::connect(qemu.path(), &Deadline::after(ms(150))).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::MonitorBusy, libc::EBUSY), "{error}");
    assert!(start.elapsed() < ms(2000));
    drop(first);
    assert!(ask(&mut connect(&qemu)).is_ok(), "free again");
}

#[test]
fn a_full_listen_queue_is_busy_too() {
    let qemu = FakeQemu::start(Setup { backlog: 0, ..Setup::default() });
    qemu.accept(false);
    let waiting: Vec<_> = std::iter::from_fn(|| {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
        let address = UnixAddr::new(qemu.path()).unwrap();
        connect(std::os::fd::AsRawFd::as_raw_fd(&fd), &address).is_ok().then_some(fd)
    })
    .collect();
    assert!(!waiting.is_empty());
    let error = Client::connect(qemu.path(), &Deadline::after(ms(100))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MonitorBusy, "{error}");
    drop(waiting);
    qemu.accept(true);
    assert!(ask(&mut connect(&qemu)).is_ok(), "waits until there is room");
}

#[test]
fn a_half_greeting_is_a_timeout_not_another_client() {
    let qemu = fake();
    let text = Greeting::text(VERSION);
    qemu.greet(Greeting::bytes(&text[..20]));
    let error = Client::connect(qemu.path(), &Deadline::after(ms(100))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[test]
fn an_endless_talker_does_not_hold_the_caller() {
    for talk in ["{\"event\":\"STOP\"}\r\n", " \r\n", "{\"return\":{},\"id\":5}\n"] {
        let qemu = fake();
        let mut monitor = connect(&qemu);
        qemu.fault("query-status", 0, Act::Endless(talk.repeat(1000).into_bytes()));
        // A call that listens to the end does not return.
        let error = monitor.execute(&status(), &Deadline::after(ms(200))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{talk:?}");
        let _ = monitor.read_all();
    }
    let qemu = fake();
    qemu.greet(Greeting::bytes("{\"event\":\"STOP\"}\r\n".repeat(100_000)));
    assert!(Client::connect(qemu.path(), &Deadline::after(ms(200))).is_err());
}

#[test]
fn an_endless_message_is_cut_off() {
    let qemu = fake();
    let mut monitor = connect(&qemu);
    qemu.fault("query-status", 0, Act::Around(b"{\"x\":\"".to_vec(), Vec::new()));
    qemu.fault("query-status", 1, Act::Endless(vec![b'z'; 65536]));
    let batch = monitor.run(&[status(), status()], &ample());
    assert_eq!(batch.failure.unwrap().kind(), ErrorKind::Protocol);
}

#[test]
fn cancel_ends_a_wait_at_once() {
    let qemu = fake();
    let mut monitor = connect(&qemu);
    let cancel = Arc::new(Cancel::new().unwrap());
    // A connection whose negotiation is cancelled is past use.
    monitor.execute(&status(), &ample()).unwrap();
    qemu.take_names();
    qemu.fault("query-status", 0, Act::HangAfter);
    let deadline = ample().with_cancel(cancel.clone());
    let error = std::thread::scope(|scope| {
        // Not before all of the command is on its way: a connection with half of one is past use.
        scope.spawn(|| {
            assert!(host::eventually(|| qemu.take_names().contains(&"query-status".to_owned())));
            cancel.set();
        });
        monitor.execute(&status(), &deadline).unwrap_err()
    });
    assert_eq!(error.kind(), ErrorKind::Canceled);
    assert!(!monitor.is_broken());
}

#[test]
fn descriptors_from_the_monitor_are_not_taken() {
    host::in_own_process("descriptors_from_the_monitor_are_not_taken", &mut || {
        let qemu = fake();
        let mut monitor = connect(&qemu);
        qemu.settle();
        let before = host::open_fds();
        for _ in 0..20 {
            qemu.fault("query-status", 0, Act::WithFds(8));
            assert!(ask(&mut monitor).is_ok());
        }
        qemu.settle();
        assert_eq!(host::open_fds(), before);
    });
}

#[test]
fn failed_connections_leave_no_descriptor() {
    host::in_own_process("failed_connections_leave_no_descriptor", &mut || {
        let qemu = fake();
        qemu.settle();
        let before = host::open_fds();
        for greeting in
            [Greeting::silence(), Greeting::bytes("?"), Greeting::bytes(&Greeting::text(VERSION)[..9])]
        {
            qemu.greet(greeting);
            assert!(Client::connect(qemu.path(), &Deadline::after(ms(50))).is_err());
            qemu.settle();
        }
        assert!(host::eventually(|| host::open_fds() == before), "{:?}\n{before:?}", host::open_fds());
    });
}
