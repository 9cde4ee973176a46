//! What the header has to say of everything in it.

use manual::header::{Header, Item, Kind, Member, is_word};
use manual::markup::sections;

use crate::rules::Rules;

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
                if matches!(item.kind, Kind::Enum(_)) {
                    value_names(item, members).into_iter().for_each(&mut complain);
                }
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
    complaints.extend(flags(header));
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

/// Every parameter is described, here or by the rules, and what is returned as well.
fn function(header: &Header, item: &Item, parameters: &[String], complain: &mut impl FnMut(String)) {
    let parts = sections(&item.doc);
    let rules = Rules::of(header);
    let documented: Vec<&String> = parts.parameters.iter().flat_map(|(names, _)| names).collect();
    for (at, name) in documented.iter().enumerate() {
        if !parameters.contains(name) {
            complain(format!("describes the parameter {name}, which it does not have"));
        }
        if documented.iter().take(at).any(|earlier| earlier == name) {
            complain(format!("describes its parameter {name} twice"));
        }
    }
    let fallible = parameters.iter().any(|name| name == "reterr");
    for name in parameters.iter().filter(|_| fallible) {
        if !documented.contains(&name) && !rules.describes(name) && !name.ends_with("_size") {
            complain(format!("does not describe its parameter {name}"));
        }
    }
    // Those that take no error only look, and their first sentence says what at.
    if fallible && parts.description.is_empty() {
        complain("does not say what it does".into());
    }
}

/// No bit has two meanings.
fn flags(header: &Header) -> Vec<String> {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    let mut complaints = Vec::new();
    for item in header.items.iter().filter(|item| item.kind == Kind::Constant) {
        let Some((_, bit)) = item.declaration.split_once("(1 << ") else { continue };
        match seen.iter().find(|(other, _)| *other == bit) {
            Some((_, name)) => complaints.push(format!("{} is the same bit as {name}", item.name)),
            None => seen.push((bit, &item.name)),
        }
    }
    complaints
}

/// The values of an enum carry its name, without what says of what kind it is.
fn value_names(item: &Item, values: &[Member]) -> Vec<String> {
    let name = item.name.to_uppercase();
    let stem = ["_KIND", "_TYPE", "_LEVEL", "_STATE"].iter().find_map(|end| name.strip_suffix(end));
    // KVM_HOTPLUG_STATE_LIVE is of enum kvm_hotplug_state.
    let fits = |value: &str| {
        [Some(name.as_str()), stem.filter(|stem| *stem != "KVM_HOTPLUG")]
            .into_iter()
            .flatten()
            .any(|stem| value.strip_prefix(stem).is_some_and(|rest| rest.starts_with('_')))
    };
    let odd = values.iter().filter(|value| !fits(&value.name));
    odd.map(|value| format!("{} does not begin with the name of enum {}", value.name, item.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "/**\n * @file h\n *\n * `reterr`: or NULL.\n */\n/**\n * A thing.\n */\nstruct kvm_x;\n\
        /**\n * Why.\n */\nstruct kvm_hotplug_error;\n/**\n * A flag.\n */\n#define KVM_A (1 << 3)\n\
        /**\n * E.\n */\nenum kvm_e_type {\n    KVM_E_ONE = 1, /**< One. */\n};\n/**\n * Does kvm_f().\n *\n * `x`: the thing.\n */\n\
        int kvm_f(struct kvm_x *x, struct kvm_hotplug_error **reterr);\n/**\n * Does.\n *\n * Returns 1.\n */\nint kvm_g(void);\n";

    fn of(text: &str) -> Vec<String> {
        complaints(&Header::parse(text).unwrap())
    }

    #[test]
    fn a_complete_header_is_not_complained_of() {
        assert_eq!(of(GOOD), Vec::<String>::new());
    }

    #[test]
    fn whatever_is_missing_or_wrong_is_complained_of() {
        for (old, new, what) in [
            (" * A thing.\n", "", "not described"),
            (" * `x`: the thing.\n", "", "its parameter x"),
            (" * `reterr`: or NULL.\n", "", "its parameter reterr"),
            (" * Does kvm_f().\n *\n", "", "what it does"),
            ("`x`: the thing", "`y`: the thing", "y, which it does not have"),
            (" * `x`: the thing.\n", " * `x`: the thing.\n * `x`: the thing.\n", "parameter x twice"),
            ("`x`: the thing", "`x`: of kvm_z()", "kvm_z, which does not exist"),
            (
                "#define KVM_A (1 << 3)\n",
                "#define KVM_A (1 << 3)\n/**\n * B.\n */\n#define KVM_B (1 << 3)\n",
                "same bit",
            ),
            ("KVM_E_ONE = 1", "KVM_ONE = 1", "name of enum"),
        ] {
            let complaints = of(&GOOD.replace(old, new));
            assert!(complaints.iter().any(|complaint| complaint.contains(what)), "{old:?}: {complaints:?}");
        }
    }
}
