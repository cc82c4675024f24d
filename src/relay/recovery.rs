//! From one session to the next: how long to wait before it, and how long it may take to show that it is of use.
//!
//! A session that is opened while the nodes of RabbitMQ elect the leader of a queue may never get an answer to what it
//! publishes then (seen with 3.10, three nodes, one cut off: no confirm in 15 s on the session that came to the next node
//! half a second after the cut, and at once on the one after it). So a session that has confirmed nothing yet is given
//! up sooner than one that has ([`FIRST_CONFIRM`]); with each such session in a row later, for a broker may just be slow.

use std::time::Duration;

use super::Ended;
use crate::broker::{self, FIRST_CONFIRM};
use crate::retry::Delays;

/// What the sessions before taught.
pub(super) struct Recovery {
    delays: Delays,
    patience: Duration,
}

impl Recovery {
    pub(super) fn new((first, cap): (Duration, Duration)) -> Self {
        Self {
            delays: Delays::new(first, cap),
            patience: FIRST_CONFIRM,
        }
    }

    /// How long the first confirm of the next session may take.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Something was published: whatever was, is over.
    pub(super) fn went_on(&mut self) {
        self.delays.reset();
        self.patience = FIRST_CONFIRM;
    }

    /// How long to wait before the session after one that ended like this.
    pub(super) fn ended(&mut self, ended: &Ended) -> Duration {
        // Whoever was waited for longer had confirmed something.
        if let Ended::Broker(broker::Error::Deadline(waited)) = ended
            && *waited <= self.patience
        {
            self.patience = self.patience.saturating_mul(2);
        }
        self.delays.next_delay()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_confirms_nothing_makes_the_next_one_more_patient() {
        let delay = Duration::from_millis(100);
        let mut recovery = Recovery::new((delay, delay));
        assert_eq!(recovery.patience(), FIRST_CONFIRM);
        recovery.ended(&Ended::Broker(broker::Error::Closed));
        assert_eq!(recovery.patience(), FIRST_CONFIRM);
        for times in [2, 4, 8] {
            recovery.ended(&Ended::Broker(broker::Error::Deadline(FIRST_CONFIRM)));
            assert_eq!(recovery.patience(), FIRST_CONFIRM * times);
        }
        recovery.went_on();
        assert_eq!(recovery.patience(), FIRST_CONFIRM);
        let deadline = broker::Error::Deadline(FIRST_CONFIRM * 3);
        recovery.ended(&Ended::Broker(deadline));
        assert_eq!(
            recovery.patience(),
            FIRST_CONFIRM,
            "of one that had confirmed"
        );
    }
}
