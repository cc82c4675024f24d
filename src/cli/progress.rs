//! Bars for long work: on a terminal, on standard error, and nowhere else.

use std::io::IsTerminal;

use indicatif::{MultiProgress, ProgressStyle};

pub(super) use indicatif::ProgressBar;

const TEMPLATE: &str = "{prefix}{bar:40} {pos}/{len}  {per_sec}  {eta} left  {msg}";

/// A bar up to `count`, with a speed and the time that is left; hidden where nobody looks.
pub(super) fn bar(count: u64) -> ProgressBar {
    match std::io::stderr().is_terminal() {
        true => styled(ProgressBar::new(count)),
        false => ProgressBar::hidden(),
    }
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
