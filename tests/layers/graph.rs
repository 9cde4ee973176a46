//! Which file uses which: paths are followed through re-exports to the file that defines the name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::source::Source;

/// All source files, by module.
pub struct Tree(BTreeMap<Vec<String>, Source>);

/// A re-export leads to another one; this many are followed.
const MOST_STEPS: usize = 8;

impl Tree {
    /// The sources below a folder, without files of tests.
    pub fn read(root: &Path) -> Self {
        let mut tree = BTreeMap::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                if path.is_dir() && !name.ends_with("tests") {
                    folders.push(path);
                } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                    let source = Source::read(&name, &std::fs::read_to_string(&path).unwrap());
                    tree.insert(source.module.clone(), source);
                }
            }
        }
        Self(tree)
    }

    pub fn from_texts(texts: &[(&str, &str)]) -> Self {
        let sources = texts.iter().map(|(path, text)| Source::read(path, text));
        Self(sources.map(|source| (source.module.clone(), source)).collect())
    }

    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.0.values()
    }

    /// The files that a file uses.
    pub fn used_by<'a>(&'a self, source: &'a Source) -> BTreeSet<&'a str> {
        let imported = source.imports.iter().map(|import| &import.path);
        let paths = imported.chain(&source.paths);
        let found = paths.filter_map(|path| self.resolve(source, path, MOST_STEPS));
        found.map(|used| used.path.as_str()).filter(|path| *path != source.path).collect()
    }

    /// The file that defines what a path in `source` names, if it is one of ours.
    fn resolve<'a>(&'a self, source: &'a Source, path: &[String], steps: usize) -> Option<&'a Source> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.walk(&[], rest, steps),
            "self" => self.walk(&source.module, rest, steps),
            "super" => self.walk(source.module.split_last()?.1, rest, steps),
            _ if source.children.contains(first) => self.walk(&source.module, path, steps),
            _ => {
                let import = source.imports.iter().find(|import| import.name == *first)?;
                let whole: Vec<String> = import.path.iter().chain(rest).cloned().collect();
                if whole == path { None } else { self.resolve(source, &whole, steps.checked_sub(1)?) }
            }
        }
    }

    fn walk(&self, module: &[String], path: &[String], steps: usize) -> Option<&Source> {
        let mut module = module.to_vec();
        let mut path = path;
        while let Some((first, rest)) = path.split_first() {
            if first == "super" {
                module.pop();
            } else {
                module.push(first.clone());
                if !self.0.contains_key(&module) {
                    module.pop();
                    break;
                }
            }
            path = rest;
        }
        let found = self.0.get(&module)?;
        if path.is_empty() {
            return Some(found);
        }
        let is_reexport = found.imports.iter().any(|import| import.name == path[0]);
        let further = steps.checked_sub(1).filter(|_| is_reexport);
        further.and_then(|steps| self.resolve(found, path, steps)).or(Some(found))
    }

    /// A way from a file back to itself through files of its room, for each file that has one.
    pub fn circles(&self) -> Vec<Vec<&str>> {
        let mut arrows: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let rooms: BTreeMap<&str, &str> =
            self.sources().map(|source| (source.path.as_str(), source.room())).collect();
        for source in self.sources() {
            let mut used = self.used_by(source);
            used.retain(|path| rooms.get(path) == Some(&source.room()));
            arrows.insert(&source.path, used);
        }
        let mut circles: Vec<Vec<&str>> = Vec::new();
        for from in arrows.keys() {
            if !circles.iter().any(|circle| circle.contains(from)) {
                circles.extend(way_back(&arrows, from));
            }
        }
        circles
    }
}

/// The shortest way from a file to itself.
fn way_back<'a>(arrows: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &'a str) -> Option<Vec<&'a str>> {
    let mut ways = vec![vec![from]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in arrows.get(way.last()?)? {
                if *next == from {
                    return Some(way);
                }
                if seen.insert(*next) {
                    longer.push(way.iter().copied().chain([*next]).collect());
                }
            }
        }
        ways = longer;
    }
    None
}
