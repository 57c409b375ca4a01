//! Group commit: all requests that wait put their records into the open batch, one writer takes it,
//! stores it and wakes them together. While it does, the next batch fills.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::AppendError;
use super::frames::Frames;

pub(super) struct Batcher {
    open: Mutex<Open>,
    /// Told when the open batch gets its first record, and on closing.
    filled: Notify,
    /// Bound of the open batch; a store that is so far behind gets no more.
    max_bytes: usize,
}

struct Open {
    batch: Batch,
    is_closed: bool,
}

/// Records that are stored, or lost, together.
#[derive(Default)]
pub(super) struct Batch {
    pub clicks: Frames,
    pub deliveries: Frames,
    ticket: Arc<Ticket>,
}

impl Batcher {
    pub fn new(max_bytes: usize) -> Self {
        let open = Open { batch: Batch::default(), is_closed: false };
        Self { open: Mutex::new(open), filled: Notify::new(), max_bytes }
    }

    /// Adds a record to the open batch; resolves when it is durable, or known not to be.
    pub async fn append(&self, put: impl FnOnce(&mut Batch)) -> Result<(), AppendError> {
        let ticket = {
            let mut open = self.lock();
            if open.is_closed {
                return Err(AppendError::Closed);
            }
            if open.batch.bytes() >= self.max_bytes {
                return Err(AppendError::Full);
            }
            if open.batch.is_empty() {
                self.filled.notify_one();
            }
            put(&mut open.batch);
            Arc::clone(&open.batch.ticket)
        };
        ticket.wait().await
    }

    /// The next batch with something in it; None once closed and empty. Safe to cancel.
    pub async fn next(&self) -> Option<Batch> {
        loop {
            let filled = self.filled.notified();
            if !self.lock().batch.is_empty() {
                // Requests that are ready to run put their records in first: fewer, larger batches.
                tokio::task::yield_now().await;
                return Some(std::mem::take(&mut self.lock().batch));
            }
            if self.lock().is_closed {
                return None;
            }
            filled.await;
        }
    }

    /// No more appends; what was appended is still handed out.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.filled.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // Frames are whole even if a thread died while it held the lock.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batch {
    /// Wakes all that wait for this batch.
    pub fn finish(self, is_durable: bool) {
        self.ticket.finish(if is_durable { DURABLE } else { LOST });
    }

    pub fn is_empty(&self) -> bool {
        self.clicks.count() == 0 && self.deliveries.count() == 0
    }

    pub fn count(&self) -> u32 {
        self.clicks.count() + self.deliveries.count()
    }

    pub fn bytes(&self) -> usize {
        self.clicks.bytes().len() + self.deliveries.bytes().len()
    }
}

impl Drop for Batch {
    /// Nobody waits for ever for a writer that died.
    fn drop(&mut self) {
        self.ticket.finish(LOST);
    }
}

const PENDING: u8 = 0;
const DURABLE: u8 = 1;
const LOST: u8 = 2;

/// What the requests of one batch wait for.
#[derive(Default)]
struct Ticket {
    state: AtomicU8,
    finished: Notify,
}

impl Ticket {
    async fn wait(&self) -> Result<(), AppendError> {
        loop {
            // Made before the look, so that a finish in between is not missed.
            let finished = self.finished.notified();
            match self.state.load(Ordering::Acquire) {
                DURABLE => return Ok(()),
                LOST => return Err(AppendError::Lost),
                _ => finished.await,
            }
        }
    }

    /// The first outcome stands.
    fn finish(&self, state: u8) {
        if self.state.compare_exchange(PENDING, state, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.finished.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(batch: &mut Batch) {
        batch.clicks.push(|out| out.push(7));
    }

    #[tokio::test]
    async fn all_of_a_batch_are_woken_together() {
        let batcher = Batcher::new(1 << 20);
        let appends = futures_join((0..100).map(|_| batcher.append(put)));
        let writer = async {
            let batch = batcher.next().await.unwrap();
            assert_eq!((batch.count(), batch.bytes()), (100, 500));
            batch.finish(true);
            batcher.close();
            assert!(batcher.next().await.is_none());
        };
        let (outcomes, ()) = tokio::join!(appends, writer);
        assert!(outcomes.iter().all(Result::is_ok));
        assert_eq!(batcher.append(put).await, Err(AppendError::Closed));
    }

    #[tokio::test]
    async fn a_lost_batch_says_so() {
        let batcher = Batcher::new(1 << 20);
        let (failed, ()) = tokio::join!(batcher.append(put), async {
            batcher.next().await.unwrap().finish(false);
        });
        assert_eq!(failed, Err(AppendError::Lost));
        let (dropped, ()) = tokio::join!(batcher.append(put), async {
            drop(batcher.next().await);
        });
        assert_eq!(dropped, Err(AppendError::Lost));
    }

    #[tokio::test]
    async fn the_open_batch_is_bounded() {
        let batcher = Batcher::new(4);
        let (first, second, ()) = tokio::join!(batcher.append(put), batcher.append(put), async {
            batcher.next().await.unwrap().finish(true);
        });
        assert_eq!((first, second), (Ok(()), Err(AppendError::Full)));
    }

    /// Polls all of them from the first moment on, in order.
    async fn futures_join<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
        let mut pending: Vec<_> = futures.map(|f| (Box::pin(f), None)).collect();
        std::future::poll_fn(|cx| {
            for (future, output) in &mut pending {
                if output.is_none()
                    && let std::task::Poll::Ready(ready) = future.as_mut().poll(cx)
                {
                    *output = Some(ready);
                }
            }
            match pending.iter().all(|(_, output)| output.is_some()) {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        })
        .await;
        pending.into_iter().filter_map(|(_, output)| output).collect()
    }
}
