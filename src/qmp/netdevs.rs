//! Which types of netdev a QEMU has, and which members they have there. Its schema has more types than it was
//! built with, so it is asked for a netdev with a member that none has: QEMU looks at the type and at each
//! member before it makes anything.

use serde_json::{Map, Value};

use super::Command;
use super::qemu_errors::{Refusal, refusal};
use super::wire::Version;
use crate::error::{Error, ErrorKind, Result};
use crate::sanitize::readable;

const COMMAND: &str = "netdev_add";

/// No netdev has a member of this name.
const NO_MEMBER: &str = "no-such-member";

/// The question about a netdev with these arguments.
pub fn question(arguments: &Map<String, Value>) -> Command {
    let mut arguments = arguments.clone();
    arguments.insert(NO_MEMBER.into(), true.into());
    Command::new(COMMAND, arguments)
}

/// Refuses the netdev if QEMU does for another reason than that member.
pub fn read(kind: &str, reply: Result<Value>, qemu: Version) -> Result<()> {
    let error = match reply {
        Err(error) => error,
        Ok(_) => {
            return Err(Error::new(
                ErrorKind::Protocol,
                "QEMU has made a netdev with a member that none has",
            ));
        }
    };
    if error.message().contains(NO_MEMBER) {
        return Ok(());
    }
    if refusal(COMMAND, &error) == Some(Refusal::NoDriver) && error.message().contains(&format!("'{kind}'")) {
        let kind = readable(kind);
        let text =
            format!("QEMU {qemu} does not have netdevs of type {kind}; take another type, or another QEMU");
        return Err(Error::new(ErrorKind::NotHotpluggable, text));
    }
    if error.is_refusal() {
        return Err(Error::invalid(format!("netdev: QEMU {qemu} says: {}", error.message())));
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_qemu_says_of_a_type() {
        let qemu = Version { major: 7, minor: 2, micro: 0 };
        let says = |text: &str| read("stream", Err(Error::qmp("GenericError", text)), qemu);
        assert!(says("Parameter 'no-such-member' is unexpected").is_ok());
        for (text, kind) in [
            ("Invalid parameter 'stream'", ErrorKind::NotHotpluggable),
            ("Parameter 'type' does not accept value 'stream'", ErrorKind::NotHotpluggable),
            ("Parameter 'addr' is missing", ErrorKind::Invalid),
            ("Parameter 'colour' is unexpected", ErrorKind::Invalid),
        ] {
            assert_eq!(says(text).unwrap_err().kind(), kind, "{text}");
        }
        assert_eq!(read("stream", Ok(Value::Null), qemu).unwrap_err().kind(), ErrorKind::Protocol);
        let asked = question(&Map::new()).arguments;
        assert!(asked.is_some_and(|members| members.contains_key(NO_MEMBER)));
    }
}
