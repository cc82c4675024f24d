//! Looking whether what is at the broker is what the configuration says, for `hookwell doctor`.

use std::time::Duration;

use tokio::time::timeout;

use super::{Error, Settings, connect, topology};

/// What a look found. Nothing was made or changed by it.
#[derive(Debug)]
pub struct Inspection {
    /// Host and port of the broker that answered.
    pub address: String,
    /// Whether it takes no messages (memory or disk alarm).
    pub blocked: bool,
    /// Each exchange and queue that is missing, differs or is forbidden, as [`Error::Topology`].
    pub faults: Vec<Error>,
}

impl Inspection {
    /// Connects to the first address that answers, and looks. Where hookwell declares, what is there is
    /// declared again on a channel that is thrown away: RabbitMQ then says what differs, and changes nothing.
    ///
    /// # Errors
    /// [`Error::Connect`] and [`Error::Lost`].
    pub async fn make(settings: &Settings) -> Result<Self, Error> {
        let (connection, address) = connect::connect(settings).await?;
        let look = topology::differences(&connection, &settings.topology);
        let within = settings.connect_timeout;
        let Ok(faults) = timeout(within, look).await else {
            return Err(Error::no_answer(address, within));
        };
        let inspection = Self {
            address,
            blocked: connection.status().blocked(),
            faults: faults?,
        };
        let bye = connection.close(200, "bye".into());
        let _ = timeout(Duration::from_secs(2), bye).await;
        Ok(inspection)
    }
}
