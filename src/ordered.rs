//! Ordered collections, filled one element at a time.
//!
//! The standard library's `collect()` sorts before it builds a tree, and its sorting is some 5 KB of code, made anew for each
//! type of element. What is ordered here has a few dozen elements as a rule.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// The set of these elements.
pub fn set<T: Ord>(elements: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    let mut set = BTreeSet::new();
    set.extend(elements);
    set
}

/// The map of these pairs; of two with the same key, the later one counts.
pub fn map<K: Ord, V>(pairs: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    map.extend(pairs);
    map
}

/// A JSON object with these members.
pub fn object<K: Into<String>>(members: impl IntoIterator<Item = (K, Value)>) -> Map<String, Value> {
    let mut object = Map::new();
    for (key, value) in members {
        object.insert(key.into(), value);
    }
    object
}

/// Sorts a list, equal elements as they were. Only for lists that are bounded by some thousand: the time for a longer one
/// grows with the square of its length.
pub fn sort_by_key<T, K: Ord>(list: &mut Vec<T>, key: impl Fn(&T) -> K) {
    for element in std::mem::take(list) {
        let own = key(&element);
        let place = list.partition_point(|other| key(other) <= own);
        list.insert(place, element);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collections_are_those_of_collect() {
        let pairs = [("b", 1), ("a", 2), ("b", 3)];
        assert_eq!(map(pairs), pairs.into_iter().collect());
        assert_eq!(set(pairs), pairs.into_iter().collect());
        let members = pairs.map(|(key, number)| (key.to_owned(), Value::from(number)));
        assert_eq!(object(members.clone()), members.into_iter().collect());
    }

    #[test]
    fn sorting_is_stable() {
        let mut list = vec![(2, 'a'), (1, 'b'), (2, 'c'), (0, 'd'), (1, 'e')];
        let mut expected = list.clone();
        expected.sort_by_key(|(number, _)| *number);
        sort_by_key(&mut list, |(number, _)| *number);
        assert_eq!(list, expected);
        sort_by_key(&mut Vec::<u8>::new(), |number| *number);
    }
}
