//! Whether what a daemon holds stays level over a long time: the slope of each measure, and what chance leaves open
//! of it. Pure.
//!
//! What is measured comes and goes with faults, checkpoints and retention, so each block of time counts as its
//! median. The slope is that of Theil and Sen, the median of those between all pairs of blocks; its range of 95 in a
//! hundred is that of Kendall's statistic. A measure rises if even the low end of that range, over the time that was
//! looked at, is more than the measure may gain. So a short run is forgiving, and hours are not.

use std::fmt;
use std::time::Duration;

/// One look at a daemon; what could not be seen is none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    /// Since the first one.
    pub at: Duration,
    /// Resident bytes.
    pub memory: Option<f64>,
    /// Open files.
    pub descriptors: Option<f64>,
    /// Of the process.
    pub threads: Option<f64>,
    /// Of the runtime.
    pub tasks: Option<f64>,
    /// Lines of `/metrics`.
    pub series: Option<f64>,
    /// Bytes of the SQLite file or of the database.
    pub store: Option<f64>,
    /// Bytes of SQLite's write-ahead log.
    pub wal: Option<f64>,
    /// Events that wait for the relay.
    pub backlog: Option<f64>,
}

/// Something that has to stay level.
pub struct Measure {
    name: &'static str,
    /// What a run expects, and says where it is not so.
    pub expected: &'static str,
    of: fn(&Look) -> Option<f64>,
    unit: &'static str,
    /// So much of what is looked at is one of the unit.
    scale: f64,
    /// So much more of it is none, however short the time: habits of the allocator, a label that comes up late.
    slack: f64,
    /// Of the median, that it may gain in an hour besides.
    share: f64,
}

/// What the defect M20 breaks.
pub const MEMORY: &str = "memory stays level";
/// What the defect M21 breaks.
pub const TASKS: &str = "tasks stay level";

const MIB: f64 = 1_048_576.0;

macro_rules! measure {
    ($field:ident, $expected:expr, $unit:literal, $scale:expr, slack: $slack:literal, share: $share:literal) => {
        Measure {
            name: stringify!($field),
            expected: $expected,
            of: |look| look.$field,
            unit: $unit,
            scale: $scale,
            slack: $slack,
            share: $share,
        }
    };
}

/// All of them.
#[rustfmt::skip]
pub const MEASURES: [Measure; 8] = [
    measure!(memory, MEMORY, " MiB", MIB, slack: 4.0, share: 0.02),
    measure!(descriptors, "descriptors stay level", "", 1.0, slack: 4.0, share: 0.0),
    measure!(threads, "threads stay level", "", 1.0, slack: 2.0, share: 0.0),
    measure!(tasks, TASKS, "", 1.0, slack: 8.0, share: 0.0),
    measure!(series, "series stay level", "", 1.0, slack: 4.0, share: 0.0),
    measure!(store, "the store stays level", " MiB", MIB, slack: 2.0, share: 0.02),
    // Under load it fills up to some 64 MiB before it begins again.
    measure!(wal, "the write-ahead log stays level", " MiB", MIB, slack: 64.0, share: 0.0),
    measure!(backlog, "the backlog stays level", "", 1.0, slack: 100.0, share: 0.0),
];

/// Blocks of time: enough for a narrow range, and long enough for one to have its share of everything that happens.
const BLOCKS: usize = 20;
/// Of the normal distribution, for 95 in a hundred.
const Z: f64 = 1.96;

/// The change of something in an hour, and the range that chance leaves it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slope {
    /// The likeliest one.
    pub middle: f64,
    /// The least.
    pub low: f64,
    /// The most.
    pub high: f64,
}

impl Slope {
    /// Of points by their hour, in their order; none where there are too few.
    pub fn of(points: &[(f64, f64)]) -> Option<Self> {
        let count = points.len() as f64;
        let behind = |n: usize| &points[n + 1..];
        let mut slopes: Vec<f64> = points
            .iter()
            .enumerate()
            .flat_map(|(n, from)| behind(n).iter().map(move |to| (from, to)))
            .filter(|(from, to)| from.0 < to.0)
            .map(|(from, to)| (to.1 - from.1) / (to.0 - from.0))
            .collect();
        let middle = median(&mut slopes)?;
        let spread = Z * (count * (count - 1.0) * (2.0 * count + 5.0) / 18.0).sqrt();
        let place = |at: f64| slopes[(at.round().max(0.0) as usize).min(slopes.len() - 1)];
        let pairs = slopes.len() as f64;
        Some(Self {
            middle,
            low: place((pairs - spread) / 2.0),
            high: place((pairs + spread) / 2.0),
        })
    }
}

/// What came of a measure.
pub struct Level {
    measure: &'static Measure,
    median: f64,
    least: f64,
    most: f64,
    slope: Slope,
    hours: f64,
}

impl Level {
    /// Of these looks; none where nothing was seen of it.
    pub fn of(measure: &'static Measure, looks: &[Look]) -> Option<Self> {
        let seen: Vec<(f64, f64)> = looks
            .iter()
            .filter_map(|look| {
                let value = (measure.of)(look)?;
                Some((look.at.as_secs_f64() / 3600.0, value / measure.scale))
            })
            .collect();
        let hours = seen.last()?.0 - seen.first()?.0;
        let mut values: Vec<f64> = seen.iter().map(|(_, value)| *value).collect();
        let slope = Slope::of(&blocks(&seen))?;
        Some(Self {
            measure,
            median: median(&mut values)?,
            // In order by now.
            least: values[0],
            most: values[values.len() - 1],
            slope,
            hours,
        })
    }

    /// What a run expects of it.
    pub fn expected(&self) -> &'static str {
        self.measure.expected
    }

    /// Whether it gained no more than it may.
    pub fn holds(&self) -> bool {
        let gained = self.slope.low * self.hours;
        gained <= self.measure.slack + self.measure.share * self.median * self.hours
    }
}

/// The head of a table of levels.
pub const HEAD: &str = "| What | Median | Least–most | Slope an hour | With 95 % between | Of the median | May gain | Verdict |\n\
                        |---|--:|--:|--:|--:|--:|--:|---|";

impl fmt::Display for Level {
    /// As a line of the table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            measure,
            median,
            least,
            most,
            slope,
            ..
        } = self;
        let Measure {
            name,
            unit,
            slack,
            share,
            ..
        } = measure;
        // Nothing is no measure of a share.
        let of_median = match 0.0 < *median {
            true => format!("{:+.2} %", 100.0 * slope.middle / median),
            false => "–".to_owned(),
        };
        let may = match 0.0 < *share {
            true => format!("{slack}{unit} and {} %/h", 100.0 * share),
            false => format!("{slack}{unit}"),
        };
        let verdict = if self.holds() { "level" } else { "RISES" };
        write!(
            f,
            "| {name} | {median:.1}{unit} | {least:.1}–{most:.1} | {:+.2} | {:+.2} and {:+.2} | {of_median} | {may} | {verdict} |",
            slope.middle, slope.low, slope.high
        )
    }
}

/// The medians of blocks of equal length.
fn blocks(seen: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let size = seen.len().div_ceil(BLOCKS).max(1);
    let middle = |block: &[(f64, f64)]| {
        let (mut at, mut values): (Vec<f64>, Vec<f64>) = block.iter().copied().unzip();
        Some((median(&mut at)?, median(&mut values)?))
    };
    seen.chunks(size).filter_map(middle).collect()
}

/// Sorts them.
fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[half]),
        _ => Some(f64::midpoint(values[half - 1], values[half])),
    }
}
