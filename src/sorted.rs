//! Maps, sets and lists in order, made one element at a time.
//!
//! What the standard library collects into a map is sorted first, by 5 KB of machine code for each kind of
//! element: a fifteenth of this library. The lists here are a guest's devices.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// A map of these; of two with one key, the later.
pub fn map<K: Ord, V>(pairs: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    for (key, value) in pairs {
        map.insert(key, value);
    }
    map
}

/// A set of these.
pub fn set<T: Ord>(elements: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    let mut set = BTreeSet::new();
    for element in elements {
        set.insert(element);
    }
    set
}

/// A JSON object with these members.
pub fn object<K: Into<String>>(members: impl IntoIterator<Item = (K, Value)>) -> Map<String, Value> {
    let mut object = Map::new();
    for (key, value) in members {
        object.insert(key.into(), value);
    }
    object
}

/// These by their keys. Those with one key stay in the order that they come in.
pub fn by_key<T, K: Ord>(elements: impl IntoIterator<Item = T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut list: Vec<T> = Vec::new();
    for element in elements {
        let at = list.partition_point(|other| key(other) <= key(&element));
        list.insert(at, element);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_of_two_with_one_key_stays_in_a_map() {
        assert_eq!(map([(2, 'a'), (1, 'b'), (2, 'c')]), BTreeMap::from([(1, 'b'), (2, 'c')]));
    }

    #[test]
    fn a_list_stays_as_it_was_within_one_key() {
        assert_eq!(
            by_key([(2, 'a'), (1, 'b'), (2, 'c'), (1, 'a')], |(number, _)| *number),
            [(1, 'b'), (1, 'a'), (2, 'a'), (2, 'c')]
        );
        assert_eq!(set([3, 1, 3]), BTreeSet::from([1, 3]));
    }
}
