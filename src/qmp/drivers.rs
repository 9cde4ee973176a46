//! Which block drivers a QEMU has. Its schema also lists those whose module is not installed, so it is asked
//! for a node under a name that none can have: it looks for the driver, and at what the node says, before it
//! looks at the name, and at the name before it opens anything.

use serde_json::{Map, Value};

use super::Command;
use super::qemu_errors::{Refusal, refusal};
use super::wire::Version;
use crate::error::{Error, ErrorKind, Result};
use crate::sanitize::readable;

const COMMAND: &str = "blockdev-add";

/// What QEMU calls nodes by itself begins like this, and what a client calls them does not.
const NO_NAME: &str = "#";

/// The question about a node that QEMU would open by itself.
pub fn question(node: &Map<String, Value>) -> Command {
    let mut node = node.clone();
    node.insert("node-name".into(), NO_NAME.into());
    Command::new(COMMAND, node)
}

/// Refuses the node if QEMU does for another reason than its name.
pub fn read(node: &Map<String, Value>, reply: Result<Value>, qemu: Version) -> Result<()> {
    let driver = readable(node.get("driver").and_then(Value::as_str).unwrap_or_default());
    let error = match reply {
        Err(error) => error,
        Ok(_) => return Err(Error::new(ErrorKind::Protocol, "QEMU has made a node without a name")),
    };
    match refusal(COMMAND, &error) {
        Some(Refusal::NodeName) => Ok(()),
        // 5.2 says the same of other words.
        Some(Refusal::NoDriver) if error.message().contains(&format!("'{driver}'")) => Err(Error::new(
            ErrorKind::NotHotpluggable,
            format!(
                "QEMU {qemu} does not have the block driver {driver}; install the package with its module (in Debian \
                 qemu-block-extra), or take another QEMU"
            ),
        )),
        _ if error.is_refusal() => {
            let text = format!("source: the {driver} node: QEMU {qemu} says: {}", error.message());
            Err(Error::invalid(text))
        }
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_qemu_says_of_a_driver() {
        let Value::Object(node) = json!({"driver": "rbd", "pool": "p", "image": "i"}) else { unreachable!() };
        let qemu = Version { major: 7, minor: 2, micro: 0 };
        let says = |text: &str| read(&node, Err(Error::qmp("GenericError", text)), qemu);
        for fine in ["Invalid node name", "Invalid node-name: '#'"] {
            assert!(says(fine).is_ok(), "{fine}");
        }
        for (text, kind) in [
            ("Unknown driver 'rbd'", ErrorKind::NotHotpluggable),
            ("Invalid parameter 'rbd'", ErrorKind::NotHotpluggable),
            ("Parameter 'driver' does not accept value 'rbd'", ErrorKind::NotHotpluggable),
            ("Parameter 'conf' is unexpected", ErrorKind::Invalid),
        ] {
            assert_eq!(says(text).unwrap_err().kind(), kind, "{text}");
        }
        assert_eq!(read(&node, Ok(json!({})), qemu).unwrap_err().kind(), ErrorKind::Protocol);
        assert!(
            question(&node).arguments.is_some_and(|members| members.get("node-name") == Some(&"#".into()))
        );
    }
}
