//! The examples in C, each as a program text that compiles if the example does.

use manual::header::Header;
use manual::markup::{Block, blocks};

/// What examples use without saying where it comes from.
const BEFORE: &str = "#include <errno.h>\n#include <poll.h>\n#include <stdint.h>\n#include <stdio.h>\n#include <stdlib.h>\n\
    #include <string.h>\n#include <sys/types.h>\n#include <unistd.h>\n\n#include <kvm_hotplug.h>\n\n\
    void example(struct kvm_runtime *rt, struct kvm_hotplug *vm, struct kvm_boot *boot, struct kvm_hotplug_error *err);\n\n\
    void example(struct kvm_runtime *rt, struct kvm_hotplug *vm, struct kvm_boot *boot, struct kvm_hotplug_error *err)\n{\n\
    (void)rt, (void)vm, (void)boot, (void)err;\n{\n";

/// File names and their contents, for a header or a Markdown file.
pub fn programs(path: &str, text: &str) -> Result<Vec<(String, String)>, String> {
    let found = if path.ends_with(".md") { in_markdown(text) } else { in_header(text)? };
    let name = path.rsplit('/').next().unwrap_or(path);
    let programs = found.into_iter().enumerate().map(|(at, (line, code))| {
        let whole = code.contains("main(");
        let (before, after) = if whole { ("", "") } else { (BEFORE, "}\n}\n") };
        let text = format!("{before}#line {line} \"{path}\"\n{code}\n{after}");
        (format!("{name}-{}.c", at + 1), text)
    });
    Ok(programs.collect())
}

/// Blocks fenced as C, with the line each begins at.
fn in_markdown(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, Vec<&str>)> = None;
    for (at, line) in text.lines().enumerate() {
        match open.as_mut() {
            None if line.trim() == "```c" => open = Some((at + 2, Vec::new())),
            Some((start, lines)) if line.trim() == "```" => {
                found.push((*start, lines.join("\n")));
                open = None;
            }
            Some((_, lines)) => lines.push(line),
            None => {}
        }
    }
    found
}

/// Indented blocks of the comments.
fn in_header(text: &str) -> Result<Vec<(usize, String)>, String> {
    let header = Header::parse(text)?;
    let all = header.items.iter().flat_map(|item| blocks(&item.doc));
    let code = all.filter_map(|block| match block {
        Block::Code(lines) => Some(lines),
        _ => None,
    });
    let at =
        |first: &String| text.lines().position(|line| line.ends_with(first.as_str())).map_or(1, |at| at + 1);
    Ok(code.map(|lines| (lines.first().map_or(1, at), lines.join("\n"))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_c_is_taken() {
        let text = "a\n```c\nint a;\nint b;\n```\n```go\nx\n```\n```\ny\n```\n```c\nint main(void) { return 0; }\n```\n";
        let programs = programs("x/README.md", text).unwrap();
        assert_eq!(programs.len(), 2);
        assert_eq!(programs[0].0, "README.md-1.c");
        assert!(
            programs[0].1.contains("#line 3 \"x/README.md\"\nint a;\nint b;\n}\n}\n"),
            "{}",
            programs[0].1
        );
        assert!(programs[1].1.starts_with("#line 13 "), "{}", programs[1].1);
    }
}
