//! Attempts under way: bounded in all, and for each target, so that one who is slow takes nothing from the others.

use std::collections::HashMap;

use tokio::task::{Id, JoinError, JoinSet};

pub struct Attempts<T> {
    tasks: JoinSet<T>,
    targets: HashMap<Id, String>,
    per_target: usize,
    in_all: usize,
}

impl<T: Send + 'static> Attempts<T> {
    pub fn new(per_target: usize, in_all: usize) -> Self {
        Self { tasks: JoinSet::new(), targets: HashMap::new(), per_target, in_all }
    }

    /// How many more may begin for a target.
    pub fn free(&self, target: &str) -> usize {
        let under_way = self.targets.values().filter(|it| *it == target).count();
        self.per_target.saturating_sub(under_way).min(self.in_all.saturating_sub(self.tasks.len()))
    }

    pub fn begin(&mut self, target: &str, attempt: impl Future<Output = T> + Send + 'static) {
        let id = self.tasks.spawn(attempt).id();
        self.targets.insert(id, target.to_owned());
    }

    /// The next one that ends, well or by a panic; None if none is under way.
    pub async fn next(&mut self) -> Option<Result<T, JoinError>> {
        let ended = self.tasks.join_next_with_id().await?;
        self.targets.remove(&ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id));
        Some(ended.map(|(_, outcome)| outcome))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_ends_makes_room_even_by_a_panic() {
        let mut attempts = Attempts::new(2, 3);
        attempts.begin("a", async { panic!("on purpose") });
        attempts.begin("a", async {});
        assert_eq!((attempts.free("a"), attempts.free("b")), (0, 1));
        attempts.begin("b", async {});
        assert_eq!((attempts.free("a"), attempts.free("b")), (0, 0));
        let mut died = 0;
        while let Some(ended) = attempts.next().await {
            died += usize::from(ended.is_err());
        }
        assert_eq!((died, attempts.free("a"), attempts.free("b")), (1, 2, 2));
    }
}
