//! A peer that says what it was told to, and then no more.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use fake_qemu::{FakeQemu, Reaction, Said, Setup};
use serde_json::json;

fn heard(fake: &FakeQemu, said: &str) -> String {
    let mut client = UnixStream::connect(fake.path()).unwrap();
    client.write_all(said.as_bytes()).unwrap();
    let mut heard = String::new();
    client.read_to_string(&mut heard).unwrap();
    heard
}

#[test]
fn each_client_hears_what_was_meant_for_it_and_then_the_end() {
    let fake = FakeQemu::start(Setup::default());
    fake.react(Reaction {
        opening: vec![b"a".to_vec(), b"b\n".to_vec()],
        negotiates: true,
        answers: vec![
            Said::Bytes(vec![b"c".to_vec(), b"d\n".to_vec()]),
            Said::Reply(json!({ "return": 1 })),
            Said::Reply(json!(2)),
        ],
    });
    let three = "{\"execute\":\"x\",\"id\":7}".repeat(3);
    let all = heard(&fake, &format!("{{\"execute\":\"qmp_capabilities\"}}{three}"));
    assert_eq!(all, "ab\n{\"return\":{}}\r\ncd\n{\"id\":7,\"return\":1}\r\n2\r\n");
    assert_eq!(heard(&fake, ""), "", "for nobody");
    fake.react(Reaction { opening: vec![b"again".to_vec()], ..Reaction::default() });
    assert_eq!(heard(&fake, "{}"), "again");
    assert_eq!(fake.take_seen(), []);
}
