//! What the daemon says of itself, from its `/metrics`.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use crate::wire::Wire;

/// The text of one scrape.
pub struct Scrape(String);

/// Upper bounds of the buckets, each with the number of observations up to it.
pub type Histogram = Vec<(f64, u64)>;

impl Scrape {
    pub async fn of(admin: SocketAddr) -> Result<Self> {
        let mut wire = Wire::connect(admin).await?;
        let status = wire
            .exchange(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await?;
        ensure!(status == 200, "/metrics answered {status}");
        Ok(Self(std::str::from_utf8(wire.body())?.to_owned()))
    }

    /// The value of a series, written with its labels.
    pub fn value(&self, series: &str) -> Result<u64> {
        let mut lines = self.0.lines();
        let found = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let text = found.with_context(|| format!("no {series} in /metrics"))?;
        text.parse()
            .with_context(|| format!("{series} is no whole number: {text}"))
    }

    /// Positive confirms since the daemon started.
    pub fn confirmed(&self) -> Result<u64> {
        self.value("hookwell_publish_outcomes_total{outcome=\"confirmed\"}")
    }

    /// From the request read to the confirm; empty before the first event.
    pub fn end_to_end(&self) -> Histogram {
        const BUCKET: &str = "hookwell_end_to_end_seconds_bucket{origin=\"webhook\",le=\"";
        let lines = self.0.lines();
        lines
            .filter_map(|line| {
                let (bound, count) = line.strip_prefix(BUCKET)?.split_once("\"} ")?;
                Some((bound.parse().ok()?, count.parse().ok()?))
            })
            .collect()
    }
}

/// The value below which `part` of the observations between two scrapes lie. Within a bucket they are
/// taken as evenly spread, so it is as exact as the buckets are narrow.
pub fn quantile(before: &Histogram, after: &Histogram, part: f64) -> Option<f64> {
    let earlier = |bound: f64| {
        let found = before.iter().find(|(other, _)| *other == bound);
        found.map_or(0, |(_, count)| *count)
    };
    let counts: Histogram = after
        .iter()
        .map(|(bound, count)| (*bound, count.saturating_sub(earlier(*bound))))
        .collect();
    let wanted = counts.last()?.1 as f64 * part;
    let (mut below, mut start) = (0, 0.0);
    for (bound, count) in counts {
        if 0 < count && wanted <= count as f64 {
            let share = (wanted - below as f64) / (count - below).max(1) as f64;
            // Nothing is known of the last bucket but where it begins.
            return Some(match bound.is_finite() {
                true => start + (bound - start) * share,
                false => start,
            });
        }
        (below, start) = (count, bound);
    }
    None
}
