use super::*;

fn qmp_event(name: &str, size: usize) -> qmp::Event {
    let data = json!({ "filler": "x".repeat(size) });
    qmp::Event { name: name.into(), data, timestamp: Value::Null, size }
}

#[test]
fn the_oldest_give_way_and_are_counted() {
    let mut log = EventLog::default();
    (0..MAX_KEPT + 3).for_each(|n| log.guest(EventKind::MonitorLost, n.to_string()));
    assert_eq!(log.len(), MAX_KEPT + 1);
    assert_eq!(log.pop().unwrap().kind, EventKind::Lost(3));
    assert_eq!(log.pop().unwrap().text, "3");
}

#[test]
fn what_a_guest_repeats_is_counted() {
    let mut log = EventLog::default();
    let reset = EventKind::Reset { by_guest: true };
    log.push_coalesced(reset, None, "first");
    log.guest(EventKind::MonitorLost, "between");
    (0..9999).for_each(|_| log.push_coalesced(reset, None, "again"));
    log.push_coalesced(EventKind::Reset { by_guest: false }, None, "another kind");
    assert_eq!(log.len(), 3);
    let first = log.pop().unwrap();
    assert_eq!((first.text.as_str(), first.count), ("first", 10_000));
    log.push_coalesced(reset, None, "anew");
    assert_eq!((log.pop().unwrap().count, log.pop().unwrap().count, log.pop().unwrap().count), (1, 1, 1));
}

#[test]
fn a_flood_of_qmp_events_pushes_out_no_news() {
    let mut log = EventLog::default();
    log.guest(EventKind::MonitorLost, "kept");
    (0..MAX_RAW + 7).for_each(|n| log.push_qmp(&qmp_event(&format!("E{n}"), 1)));
    assert_eq!(log.pop().unwrap().kind, EventKind::Lost(7));
    assert_eq!(log.pop().unwrap().text, "kept");
    let json = log.pop().unwrap().to_json();
    assert_eq!(json.pointer("/qmp/event").unwrap(), "E7");
    while log.pop().is_some() {}
    assert_eq!((log.raw, log.raw_bytes), (0, 0));
}

#[test]
fn large_qmp_events_are_bounded_by_bytes() {
    let mut log = EventLog::default();
    (0..10).for_each(|_| log.push_qmp(&qmp_event("BIG", MAX_RAW_BYTES / 4)));
    assert_eq!((log.raw, log.dropped), (3, 7));
    log.push_qmp(&qmp_event("HUGE", MAX_RAW_BYTES + 1));
    assert_eq!((log.raw, log.dropped), (0, 11));
    log.push_qmp(&qmp_event("SMALL", 1));
    assert_eq!(log.len(), 2);
}
