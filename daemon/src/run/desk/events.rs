//! Events: those that are known, and those to come.

use std::collections::VecDeque;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use syncd_api::{Event, EventsQuery};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::run::Happenings;

/// One who follows.
struct Follower {
    happenings: Happenings,
    /// Known already, to be told before what comes.
    known: VecDeque<Event>,
    coming: Receiver<Event>,
    /// The last event that was told.
    last: u64,
}

/// Returns the events that are asked for, by id.
pub(super) fn stream(happenings: &Happenings, query: EventsQuery) -> BoxStream<'static, Event> {
    let since = match query {
        EventsQuery { since: Some(since), .. } => since,
        EventsQuery { follow: true, since: None } => happenings.last(),
        EventsQuery { follow: false, since: None } => 0,
    };
    let (known, coming) = happenings.follow(since);
    if !query.follow {
        return stream::iter(known).boxed();
    }
    let known = VecDeque::from(known);
    let follower = Follower { happenings: happenings.clone(), known, coming, last: since };
    stream::unfold(follower, |mut follower| async {
        let event = follower.next().await?;
        Some((event, follower))
    })
    .boxed()
}

impl Follower {
    async fn next(&mut self) -> Option<Event> {
        loop {
            let event = match self.known.pop_front() {
                Some(event) => event,
                None => match self.coming.recv().await {
                    Ok(event) => event,
                    Err(RecvError::Closed) => return None,
                    Err(RecvError::Lagged(_)) => {
                        // The log still holds what went by too fast, or most of it.
                        let (known, coming) = self.happenings.follow(self.last);
                        (self.known, self.coming) = (known.into(), coming);
                        continue;
                    }
                },
            };
            if event.id > self.last {
                self.last = event.id;
                return Some(event);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use syncd_core::model::FolderId;

    use super::*;
    use crate::run::Happening;

    fn tell(happenings: &Happenings, count: usize) {
        let folder = FolderId::parse("work").unwrap();
        for _ in 0..count {
            happenings.tell(Happening::folder(&folder, "test", "it happened"));
        }
    }

    #[tokio::test]
    async fn what_is_asked_for_is_told_once_and_in_order() {
        let happenings = Happenings::new(10, tokio::runtime::Handle::current());
        tell(&happenings, 3);
        for (since, expected, because) in [
            (None, vec![10, 11, 12], "all that is known"),
            (Some(10), vec![11, 12], "those after"),
            (Some(99), vec![], "none that far"),
        ] {
            let told = stream(&happenings, EventsQuery { since, follow: false });
            let ids: Vec<u64> = told.map(|event| event.id).collect().await;
            assert_eq!(ids, expected, "{because}");
        }
    }

    #[tokio::test]
    async fn a_slow_follower_misses_nothing_that_is_still_known() {
        let happenings = Happenings::new(1, tokio::runtime::Handle::current());
        tell(&happenings, 2);
        let new = stream(&happenings, EventsQuery { since: None, follow: true });
        let all = stream(&happenings, EventsQuery { since: Some(0), follow: true });
        tell(&happenings, 6_000);
        let ids: Vec<u64> = new.take(6_000).map(|event| event.id).collect().await;
        assert_eq!(ids, (3..=6_002).collect::<Vec<_>>(), "only those to come");
        let ids: Vec<u64> = all.take(6_002).map(|event| event.id).collect().await;
        assert_eq!(ids, (1..=6_002).collect::<Vec<_>>(), "with those before");
    }
}
