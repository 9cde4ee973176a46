//! What the header says once for all functions, and each man page says again.

use manual::header::{Header, Kind};
use manual::markup::{Block, Sections, blocks};

#[derive(Default)]
pub struct Rules {
    parameters: Vec<(Vec<String>, String)>,
    /// "Any call to QEMU", and what such a call fails with.
    failures: Vec<(String, String)>,
    blocking: String,
}

impl Rules {
    /// From the comment about the whole header.
    pub fn of(header: &Header) -> Self {
        let mut rules = Self::default();
        let file = header.items.iter().find(|item| item.kind == Kind::File);
        for block in file.map(|item| blocks(&item.doc)).unwrap_or_default() {
            match block {
                Block::Terms(terms) => rules.parameters.extend(terms),
                Block::Bullets(items) => items.iter().for_each(|item| rules.bullet(item)),
                Block::Text(_) | Block::Code(_) => {}
            }
        }
        rules
    }

    fn bullet(&mut self, item: &str) {
        if let Some(text) = item.strip_prefix("Blocking. ") {
            text.clone_into(&mut self.blocking);
        }
        if let Some((whose, text)) = item.split_once(": ").filter(|(whose, _)| whose.starts_with("Any ")) {
            self.failures.push((whose.to_owned(), text.to_owned()));
        }
    }

    pub fn describes(&self, parameter: &str) -> bool {
        self.parameters.iter().any(|(names, _)| names.iter().any(|name| name == parameter))
    }

    /// Says of a function what the rules say: of its parameters, of blocking, and of errors.
    pub fn complete(&self, names: &[String], fallible: bool, parts: &mut Sections) {
        let own = std::mem::take(&mut parts.parameters);
        for name in names {
            let described = own.iter().find(|(names, _)| names.contains(name));
            let text = match described {
                // Said with the first of them.
                Some((names, _)) if names.first() != Some(name) => continue,
                Some(term) => term.clone(),
                None => match self.parameters.iter().find(|(names, _)| names.contains(name)) {
                    Some((_, text)) => (vec![name.clone()], text.clone()),
                    None if name.ends_with("_size") => {
                        (vec![name.clone()], "the size of that struct.".to_owned())
                    }
                    None => continue,
                },
            };
            parts.parameters.push(text);
        }
        if fallible && parts.blocking.is_none() {
            parts.blocking = Some(self.blocking.clone());
        }
        if !names.iter().any(|name| name == "reterr") {
            return;
        }
        if parts.returns.is_empty() {
            parts.returns.push(Block::Text("Returns 0.".to_owned()));
        }
        let said = format!("{:?}", parts.returns).to_lowercase();
        for (whose, text) in &self.failures {
            let whose = whose.to_lowercase();
            let everybody = whose == "any call";
            // A change is also a call to QEMU.
            let meant = said.contains(&whose)
                || whose == "any call to qemu" && said.contains("any change of a guest");
            if everybody || meant {
                let what = if everybody { "Like any call it may fail with" } else { "Like" };
                let text = match everybody {
                    true => format!("{what} {text}"),
                    false => format!("{what} {whose} it may fail with {text}").replace("qemu it", "QEMU it"),
                };
                parts.returns.push(Block::Text(text));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use manual::markup::sections;

    #[test]
    fn rules_are_written_out() {
        let text = "/**\n * @file h\n *\n * - Blocking. Seldom.\n * - Any call: -EFAULT.\n * - Any call to QEMU: -EPROTO.\n *\n * `guest`: a handle.\n */\n\
            /** F.\n *  Returns 1, or fails like any call to QEMU. */\nint kvm_f(struct kvm_x *guest, struct kvm_y *y, size_t y_size, struct kvm_hotplug_error **reterr);\n";
        let header = Header::parse(text).unwrap();
        let item = header.find("kvm_f").unwrap();
        let Kind::Function(names) = &item.kind else { panic!() };
        let mut parts = sections(&item.doc);
        Rules::of(&header).complete(names, true, &mut parts);
        let described: Vec<&str> = parts.parameters.iter().map(|(names, _)| names[0].as_str()).collect();
        assert_eq!(described, ["guest", "y_size"]);
        assert_eq!(parts.blocking.as_deref(), Some("Seldom."));
        let returns = format!("{:?}", parts.returns);
        assert!(returns.contains("EFAULT") && returns.contains("EPROTO"), "{returns}");
    }
}
