//! Bars for long work: on a terminal, on standard error, and nowhere else.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressStyle};

pub(super) use indicatif::ProgressBar;

const TEMPLATE: &str = "{prefix}{bar:40} {pos}/{len}  {per_sec}  {eta} left  {msg}";

const TICK: Duration = Duration::from_millis(100);

/// A bar up to `count`, with a speed and the time that is left; hidden where nobody looks.
pub(super) fn bar(count: u64) -> ProgressBar {
    match std::io::stderr().is_terminal() {
        true => styled(ProgressBar::new(count)),
        false => ProgressBar::hidden(),
    }
}

/// Says what goes on and for how long already, where nobody knows how much is left; hidden where nobody looks.
pub(super) fn spinner(what: &'static str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {msg}, {elapsed}");
    let spinner = ProgressBar::new_spinner().with_message(what);
    spinner.enable_steady_tick(TICK);
    spinner.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

/// Several bars, one under the other.
pub(super) struct Bars(Option<MultiProgress>);

impl Bars {
    /// None yet; `quiet` hides them.
    pub(super) fn new(quiet: bool) -> Self {
        Self((!quiet && std::io::stderr().is_terminal()).then(MultiProgress::new))
    }

    /// One more, under its name.
    pub(super) fn add(&self, name: &str) -> ProgressBar {
        let Some(bars) = &self.0 else {
            return ProgressBar::hidden();
        };
        styled(bars.add(ProgressBar::new(0))).with_prefix(format!("{name} "))
    }
}

fn styled(bar: ProgressBar) -> ProgressBar {
    let style = ProgressStyle::with_template(TEMPLATE);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
