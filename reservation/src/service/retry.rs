//! Trying a whole transaction again where the store could not carry it out this time.

use std::time::Duration;

use tokio::time::sleep;

use super::{Answer, ServiceError, random};
use crate::{
    limits::{STORE_RETRY_FIRST, STORE_TRIES_MAX},
    store::{Conflict, StoreError},
};

/// Carries out `work`, which is one whole transaction, and again where the store says so.
pub(super) async fn retry<T, W: Future<Output = Answer<T>>>(mut work: impl FnMut() -> W) -> Answer<T> {
    let mut wait = STORE_RETRY_FIRST;
    for _ in 1..STORE_TRIES_MAX {
        match work().await {
            // A key that somebody else wrote at the same moment is seen by the next try.
            Err(ServiceError::Store(StoreError::Retry(_) | StoreError::Conflict(Conflict::Key))) => {}
            answer => return answer,
        }
        sleep(spread(wait)).await;
        wait *= 2;
    }
    work().await
}

/// Half of it to all of it, so that those who met once do not meet again.
fn spread(wait: Duration) -> Duration {
    let share = random::bits().map_or(0, |bits| (bits % 512) as u32);
    wait / 2 + wait * share / 1024
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn gives_up_after_so_many_tries() {
        let tries = Cell::new(0);
        let answer: Answer<()> = retry(|| {
            tries.set(tries.get() + 1);
            async { Err(StoreError::Retry("busy".to_owned()).into()) }
        })
        .await;
        assert!(matches!(answer, Err(ServiceError::Store(StoreError::Retry(_)))));
        assert_eq!(tries.get(), STORE_TRIES_MAX);
    }

    #[tokio::test]
    async fn what_is_broken_is_not_tried_again() {
        let tries = Cell::new(0);
        let answer: Answer<()> = retry(|| {
            tries.set(tries.get() + 1);
            async { Err(StoreError::Broken("disk full".to_owned()).into()) }
        })
        .await;
        assert!(answer.is_err());
        assert_eq!(tries.get(), 1);
    }
}
