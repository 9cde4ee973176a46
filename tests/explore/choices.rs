//! An odometer of choices: a run is played from its start with the choices so far, and afterwards the last
//! one is counted up.

/// The choices of one run.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// What was chosen, out of how many.
    taken: Vec<(usize, usize)>,
    at: usize,
    /// Faults that may still happen in this run.
    left: usize,
    depth: usize,
    /// What the choices mean that are none of the first ones: for people.
    pub story: Vec<String>,
}

impl Choices {
    /// With so many faults in each run.
    pub fn new(depth: usize) -> Self {
        Self { depth, left: depth, ..Self::default() }
    }

    /// The choices that [`Choices::script`] printed.
    pub fn of_script(depth: usize, script: &str) -> Self {
        let mut choices = Self::new(depth);
        for part in script.split(',').filter(|part| !part.is_empty()) {
            let (at, chosen) = part.split_once('=').unwrap();
            choices.taken.resize(at.parse().unwrap(), (0, usize::MAX));
            choices.taken.push((chosen.parse().unwrap(), usize::MAX));
        }
        choices
    }

    /// Which of `count` is chosen.
    pub fn choose(&mut self, count: usize) -> usize {
        if self.at == self.taken.len() {
            self.taken.push((0, count));
        }
        let (chosen, of) = &mut self.taken[self.at];
        *of = count;
        assert!(*chosen < count, "the run does not go as it did before: {:?}", self.story);
        self.at += 1;
        *chosen
    }

    /// Which of these faults happens now, if any.
    pub fn fault<T: Clone + std::fmt::Debug>(&mut self, what: &str, faults: &[T]) -> Option<T> {
        if self.left == 0 || faults.is_empty() {
            return None;
        }
        let chosen = faults.get(self.choose(faults.len() + 1).checked_sub(1)?)?.clone();
        self.left -= 1;
        self.story.push(format!("{what}: {chosen:?}"));
        Some(chosen)
    }

    /// Faults that may still happen.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Faults that have happened.
    pub fn happened(&self) -> usize {
        self.depth - self.left
    }

    /// No more faults in this run.
    pub fn end_faults(&mut self) {
        self.left = 0;
    }

    /// The next run; false when there is none.
    pub fn next(&mut self) -> bool {
        // What a shorter run did not come to is not chosen.
        self.taken.truncate(self.at);
        while let Some((chosen, of)) = self.taken.pop() {
            if chosen + 1 < of {
                self.taken.push((chosen + 1, of));
                (self.at, self.left) = (0, self.depth);
                self.story.clear();
                return true;
            }
        }
        false
    }

    /// The choices of this run that are none of the first ones, by their numbers.
    pub fn script(&self) -> String {
        let chosen = self.taken.iter().enumerate().filter(|(_, (chosen, _))| *chosen > 0);
        chosen.map(|(at, (chosen, _))| format!("{at}={chosen}")).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::Choices;

    #[test]
    fn every_pair_is_met_once() {
        let mut choices = Choices::new(2);
        let mut met = Vec::new();
        loop {
            met.push(
                [2, 1, 3]
                    .map(|count| choices.fault("", &vec![(); count]).is_some().then(|| choices.script())),
            );
            if !choices.next() {
                break;
            }
        }
        let count = met.len();
        met.sort();
        met.dedup();
        // None, one of six, two of different ones: 2 * 1 + 2 * 3 + 1 * 3.
        assert_eq!((met.len(), count), (1 + 6 + 11, 1 + 6 + 11));
    }
}
