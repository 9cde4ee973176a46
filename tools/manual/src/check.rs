//! What the header has to say of everything in it.

use crate::header::{Header, Item, Kind, is_word};
use crate::markup::{Block, sections};

/// Everything that is missing or wrong, one sentence each.
pub fn complaints(header: &Header) -> Vec<String> {
    let mut complaints = Vec::new();
    for item in &header.items {
        let name = if item.name.is_empty() { "the header" } else { &item.name };
        let mut complain = |what: String| complaints.push(format!("{name}: {what}"));
        if !ends_in_a_sentence(&item.doc) {
            complain("is not described in whole sentences".into());
        }
        references(header, &item.doc, &mut complain);
        match &item.kind {
            Kind::Function(parameters) => function(header, item, parameters, &mut complain),
            Kind::Struct(members) | Kind::Enum(members) => {
                for member in members {
                    if !ends_in_a_sentence(&member.doc) {
                        complain(format!("{} is not described in whole sentences", member.name));
                    }
                    references(header, &member.doc, &mut complain);
                }
            }
            Kind::File | Kind::Constant | Kind::Callback => {}
        }
    }
    complaints
}

fn ends_in_a_sentence(doc: &[String]) -> bool {
    doc.iter().rev().find(|line| !line.is_empty()).is_some_and(|line| line.ends_with('.'))
}

/// Functions, types and constants that are spoken of exist.
fn references(header: &Header, doc: &[String], complain: &mut impl FnMut(String)) {
    let text = doc.join(" ");
    for word in
        text.split(|char| !is_word(char)).filter(|word| word.starts_with("kvm_") || word.starts_with("KVM_"))
    {
        // The header itself, its library, and families of names.
        let family = word.ends_with('_') || word == "kvm_hotplug";
        if !family && !header.declares(word) {
            complain(format!("speaks of {word}, which does not exist"));
        }
    }
}

/// Parameters, ownership, blocking, threads, return value, every errno: said here, or where another function's
/// description is referred to.
fn function(header: &Header, item: &Item, parameters: &[String], complain: &mut impl FnMut(String)) {
    let parts = sections(&item.doc);
    let whole = item.doc.join(" ");
    // "Parameters, blocking and threads are those of kvm_x()."
    let lent = whole.match_indices(" are those of kvm_").map(|(at, _)| {
        let words = whole.get(..at).and_then(|before| before.rsplit(['.', '`']).next()).unwrap_or_default();
        words.to_lowercase()
    });
    let lent: Vec<String> = lent.collect();
    let lends = |what: &str| lent.iter().any(|words| words.contains(what));
    let fallible = item.declaration.contains("struct kvm_hotplug_error **reterr");
    let documented: Vec<&String> = parts.parameters.iter().flat_map(|(names, _)| names).collect();
    for name in &documented {
        if !parameters.contains(name) {
            complain(format!("describes the parameter {name}, which it does not have"));
        }
    }
    if fallible && !lends("parameters") {
        for name in parameters.iter().filter(|name| !documented.contains(name)) {
            complain(format!("does not describe its parameter {name}"));
        }
    }
    let cannot_fail =
        ["Cannot fail", "Does not fail", "cannot fail"].iter().any(|words| whole.contains(words));
    let blocks_and_threads = parts.blocking.as_ref().is_some_and(|text| text.contains("Threads: "));
    let lent_both = lends("block") && lends("threads");
    let neither = cannot_fail && whole.contains("not block");
    if !(blocks_and_threads || lent_both || neither) {
        complain("does not say whether it blocks and which threads may call it".into());
    }
    let returns = parts.returns.iter().any(|block| match block {
        Block::Text(text) => {
            text.contains("-E")
                || text.contains("errno")
                || text.ends_with(" or")
                || text.contains(" as kvm_")
        }
        _ => false,
    });
    let lends_errors = lends("errors")
        || header.functions().any(|other| whole.contains(&format!("Returns as {}()", other.name)));
    if (fallible || item.declaration.starts_with("int ")) && !returns && !lends_errors && !cannot_fail {
        complain("does not say what it returns, errors included".into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "/**\n * A thing.\n */\nstruct kvm_x;\n/**\n * Why.\n */\nstruct kvm_hotplug_error;\n/**\n * Does kvm_f().\n *\n\
        * `x`: the thing.\n * `reterr`: or NULL.\n *\n * Blocks: no. Threads: any.\n *\n * Returns 0, or -EINVAL.\n */\n\
        int kvm_f(struct kvm_x *x, struct kvm_hotplug_error **reterr);\n";

    fn of(text: &str) -> Vec<String> {
        complaints(&Header::parse(text).unwrap())
    }

    #[test]
    fn a_complete_header_is_not_complained_of() {
        assert_eq!(of(GOOD), Vec::<String>::new());
        let others = " * Does.\n *\n * Parameters, blocking, threads and errors are those of kvm_f().\n */\n\
            int kvm_g(struct kvm_x *x, struct kvm_hotplug_error **reterr);\n\
            /**\n * The name, or NULL. Cannot fail, does not block.\n */\nconst char *kvm_h(void);\n";
        assert_eq!(of(&format!("{GOOD}/**\n{others}")), Vec::<String>::new());
    }

    #[test]
    fn whatever_is_missing_is_complained_of() {
        for (without, what) in [
            (" * A thing.\n", "not described"),
            ("* `x`: the thing.\n", "its parameter x"),
            (" Threads: any.", "threads"),
            (" * Returns 0, or -EINVAL.\n", "what it returns"),
        ] {
            let complaints = of(&GOOD.replace(without, ""));
            assert!(
                complaints.iter().any(|complaint| complaint.contains(what)),
                "{without:?}: {complaints:?}"
            );
        }
        for (with, what) in [
            ("`y`: the thing", "y, which it does not have"),
            ("`x`: of kvm_z()", "kvm_z, which does not exist"),
        ] {
            let complaints = of(&GOOD.replace("`x`: the thing", with));
            assert!(complaints.iter().any(|complaint| complaint.contains(what)), "{with}: {complaints:?}");
        }
    }
}
