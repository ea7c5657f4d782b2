//! Waits for many things at once on one thread: the programs that are waited for run in parallel.

use std::pin::Pin;
use std::task::Poll;

/// Runs all futures to their end and returns what they gave, in their order.
pub async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<Running<F>> = futures.into_iter().map(|future| Running::Pending(Box::pin(future))).collect();
    std::future::poll_fn(|context| {
        let mut waiting = false;
        for slot in &mut running {
            if let Running::Pending(future) = slot {
                match future.as_mut().poll(context) {
                    Poll::Ready(output) => *slot = Running::Done(output),
                    Poll::Pending => waiting = true,
                }
            }
        }
        if waiting { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    running.into_iter().filter_map(Running::done).collect()
}

enum Running<F: Future> {
    Pending(Pin<Box<F>>),
    Done(F::Output),
}

impl<F: Future> Running<F> {
    fn done(self) -> Option<F::Output> {
        match self {
            Self::Done(output) => Some(output),
            Self::Pending(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::Barrier;

    /// Each waits for the others: one after the other they would wait for ever.
    #[test]
    fn they_wait_at_the_same_time_and_keep_their_order() -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let meeting = Barrier::new(3);
        let waits = [1, 2, 3].map(async |number| {
            meeting.wait().await;
            number
        });
        let met = async { tokio::time::timeout(std::time::Duration::from_secs(60), all(waits)).await };
        assert_eq!(runtime.block_on(met).ok(), Some(vec![1, 2, 3]));
        Ok(())
    }
}
