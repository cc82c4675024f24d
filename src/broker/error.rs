//! Why a session could not be had or did not do its work, each thing said once.

use std::fmt;
use std::io;
use std::time::Duration;

use lapin::protocol::{AMQPErrorKind, AMQPSoftError};

/// Why a session could not be had or did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection within the time allowed.
    #[error("cannot connect to RabbitMQ at {address}")]
    Connect {
        /// Host and port; never the password.
        address: String,
        /// What was said; `None` where there is no address.
        #[source]
        source: Option<Cause>,
    },
    /// The exchange or a queue is missing, is not what the configuration says, or is not ours to use.
    #[error("{what}: {said}: {advice}")]
    Topology {
        /// Which object.
        what: String,
        /// What is the matter with it.
        fault: Fault,
        /// RabbitMQ's words.
        said: String,
        /// The way out.
        advice: &'static str,
    },
    /// The connection or a channel broke: the fate of everything unconfirmed is unknown.
    #[error("the connection to RabbitMQ was lost")]
    Lost(#[source] Cause),
    /// The broker closed the channel because of what was published on it.
    #[error("RabbitMQ refused a message: {text}")]
    Refused {
        /// AMQP reply code, such as 406.
        code: u16,
        /// The broker's words.
        text: String,
    },
    /// No confirm within the deadline.
    #[error("RabbitMQ did not confirm within {0:?}")]
    Deadline(Duration),
    /// Opening it was broken off: the system gave no thread for it, most likely.
    #[error("opening a session ended badly")]
    Opening(#[source] tokio::task::JoinError),
    /// The connection was found closed, and nothing that was being published has said why.
    #[error("RabbitMQ closed the connection")]
    Closed,
    /// A channel does not confirm: nothing it says can be trusted.
    #[error("an answer came without publisher confirms being on")]
    NotConfirming,
}

/// What is the matter with an object of the topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not there.
    Missing,
    /// It is there with other settings.
    Differs,
    /// The user may not do that with it.
    Forbidden,
}

/// The ways out of the faults of one kind of object.
pub(super) struct Advice {
    pub(super) missing: &'static str,
    pub(super) differs: &'static str,
    pub(super) forbidden: &'static str,
}

impl Error {
    pub(super) fn lost(error: lapin::Error) -> Self {
        Self::Lost(Cause(error))
    }

    /// The time allowed is over, for a connection or for the declarations.
    pub(super) fn no_answer(address: String, within: Duration) -> Self {
        let said = format!("no answer within {within:?}");
        let error = io::Error::new(io::ErrorKind::TimedOut, said);
        Self::Connect {
            address,
            source: Some(Cause(error.into())),
        }
    }

    /// Tells what is the matter with an object from everything else that ends a channel.
    pub(super) fn about(error: lapin::Error, what: impl Into<String>, advice: &Advice) -> Self {
        let lapin::ErrorKind::ProtocolError(amqp) = error.kind() else {
            return Self::lost(error);
        };
        let (fault, advice) = match amqp.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => (Fault::Missing, advice.missing),
            AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => {
                (Fault::Differs, advice.differs)
            }
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
                (Fault::Forbidden, advice.forbidden)
            }
            _ => return Self::lost(error),
        };
        Self::Topology {
            what: what.into(),
            fault,
            said: amqp.get_message().as_str().to_owned(),
            advice,
        }
    }
}

/// What lapin said, without saying anything twice.
#[derive(Debug)]
pub struct Cause(pub(super) lapin::Error);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.kind() {
            // RabbitMQ's words begin with the name of the error.
            lapin::ErrorKind::ProtocolError(amqp) if !amqp.get_message().as_str().is_empty() => {
                f.write_str(amqp.get_message().as_str())
            }
            _ => self.0.fmt(f),
        }
    }
}

// lapin shows its own source in its words.
impl std::error::Error for Cause {}
