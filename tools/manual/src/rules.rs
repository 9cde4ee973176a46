//! What the header says once for all functions, and each man page says again.

use std::collections::BTreeSet;

use manual::header::{Header, Kind};
use manual::markup::{Block, Sections, blocks};

/// The class of failures that every function has.
const EVERYBODY: &str = "any call";

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

    /// The classes of failures that a text speaks of, and those that these speak of themselves.
    fn meant(&self, said: &str) -> BTreeSet<String> {
        let mut meant = BTreeSet::new();
        let mut texts = vec![said.to_owned()];
        while let Some(said) = texts.pop() {
            for (whose, text) in &self.failures {
                let whose = whose.to_lowercase();
                if whose != EVERYBODY && said.contains(&whose) && meant.insert(whose) {
                    texts.push(text.to_lowercase());
                }
            }
        }
        meant
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
        let meant = self.meant(&said);
        for (whose, text) in &self.failures {
            let whose = whose.to_lowercase();
            if whose == EVERYBODY || meant.contains(&whose) {
                let text = format!("Like {whose} it may fail with {}", own_failures(text));
                parts.returns.push(Block::Text(text.replace("qemu it", "QEMU it")));
            }
        }
    }
}

/// What a class fails with by itself: the classes that it is part of are written out as well.
fn own_failures(text: &str) -> &str {
    let rest = text.strip_prefix("as ").and_then(|rest| rest.split_once("; "));
    rest.map_or(text, |(_, own)| own)
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

    #[test]
    fn a_class_has_the_failures_of_the_classes_it_speaks_of() {
        let text = "/**\n * @file h\n *\n * - Any call to QEMU: -EPROTO.\n * - Any other call: -EIO.\n\
             * - Any change: as any call to QEMU; -EROFS.\n * - Any add: as any change; -ENOSPC.\n */\n\
            /** F.\n *  Fails like any add. */\nint kvm_f(struct kvm_hotplug_error **reterr);\n";
        let header = Header::parse(text).unwrap();
        let mut parts = sections(&header.find("kvm_f").unwrap().doc);
        Rules::of(&header).complete(&["reterr".into()], true, &mut parts);
        let returns: Vec<Block> = [
            "Fails like any add.",
            "Like any call to QEMU it may fail with -EPROTO.",
            "Like any change it may fail with -EROFS.",
            "Like any add it may fail with -ENOSPC.",
        ]
        .map(|text| Block::Text(text.to_owned()))
        .into();
        assert_eq!(parts.returns, returns);
    }
}
