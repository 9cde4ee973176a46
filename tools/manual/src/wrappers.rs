//! Functions that take structs with their sizes, in a form that fills the sizes in.

use crate::arrange::broken;
use crate::header::{Header, Item, Kind};

const ABOUT: &str = "
/* ---- The same calls without sizes ---------------------------------------------------------------------- */

/*
 * Each of these calls the function with kvm_hotplug_ for kvmh_ in its name, or kvm_runtime_ for
 * kvmh_runtime_, with the sizes that the structs have in this header; 0 where a pointer is NULL. Everything
 * else is as described there. The library does not export them: a program that loads it with dlopen() has
 * them too if it looks up the functions that they call.
 */
#define KVMH_SIZE(pointer) ((pointer) ? sizeof *(pointer) : 0)
";

pub fn written(header: &Header, width: usize) -> String {
    let all: Vec<String> = header.functions().filter_map(|item| wrapper(item, width)).collect();
    if all.is_empty() { String::new() } else { format!("{ABOUT}\n{}", all.concat()) }
}

fn short(name: &str) -> Option<String> {
    name.strip_prefix("kvm_hotplug_")
        .map(|rest| format!("kvmh_{rest}"))
        .or_else(|| name.strip_prefix("kvm_runtime_").map(|rest| format!("kvmh_runtime_{rest}")))
}

/// Nothing for a function that takes no size of a struct.
fn wrapper(item: &Item, width: usize) -> Option<String> {
    let Kind::Function(names) = &item.kind else { return None };
    let (result, rest) = item.declaration.split_once(&item.name)?;
    let parameters: Vec<&str> = rest.strip_prefix('(')?.strip_suffix(')')?.split(", ").collect();
    let is_size = |at: usize| -> bool {
        let before = at.checked_sub(1).and_then(|before| Some((parameters.get(before)?, names.get(before)?)));
        names.get(at).is_some_and(|name| name.ends_with("_size"))
            && before.is_some_and(|(parameter, _)| parameter.contains("struct ") && parameter.contains('*'))
    };
    let sizes: Vec<usize> = (0..names.len()).filter(|at| is_size(*at)).collect();
    if sizes.is_empty() {
        return None;
    }
    let kept: Vec<&str> = parameters
        .iter()
        .enumerate()
        .filter(|(at, _)| !sizes.contains(at))
        .map(|(_, parameter)| *parameter)
        .collect();
    let given: Vec<String> = (names.iter().enumerate())
        .map(|(at, name)| {
            match (sizes.contains(&at), at.checked_sub(1).and_then(|before| names.get(before))) {
                (true, Some(of)) => format!("KVMH_SIZE({of})"),
                _ => name.clone(),
            }
        })
        .collect();
    let head = format!("static inline {result}{}({})", short(&item.name)?, kept.join(", "));
    let call = broken(&format!("{{ return {}({}); }}", item.name, given.join(", ")), width);
    Some(format!("{}\n{call}\n", broken(&head, width)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_filled_in() {
        let text = "int kvm_hotplug_f(struct kvm_x *x, const struct kvm_y *y, size_t y_size, size_t capacity);\nint kvm_runtime_g(int a);\n";
        let written = written(&Header::parse(text).unwrap(), 110);
        let wrapper = "\nstatic inline int kvmh_f(struct kvm_x *x, const struct kvm_y *y, size_t capacity)\n\
            { return kvm_hotplug_f(x, y, KVMH_SIZE(y), capacity); }\n";
        assert!(written.ends_with(wrapper), "{written}");
        assert!(!written.contains("kvmh_runtime_g"));
    }
}
